"""The names of what is measured of every image, which no column of a table of images may have."""

SPECTRUM_BANDS = 8
MEASURES: dict[str, str] = {
    "aspect": "width / height of the content",
    "brightness": "mean grey value, 0 black to 1 white",
    "contrast": "standard deviation of the grey values, 0 to 0.5",
    "red_mean": "mean of the red channel, 0 to 1",
    "green_mean": "mean of the green channel, 0 to 1",
    "blue_mean": "mean of the blue channel, 0 to 1",
    "red_std": "standard deviation of the red channel, 0 to 0.5",
    "green_std": "standard deviation of the green channel, 0 to 0.5",
    "blue_std": "standard deviation of the blue channel, 0 to 0.5",
    "saturation": "mean saturation (HSV), 0 grey to 1",
    "hue_spread": "circular variance of the hue, weighted by saturation: 0 one hue to 1 all hues",
    "colourfulness": "Hasler & Süsstrunk's measure: 0 grey, 33 moderately, 109 extremely colourful",
    "sharpness": "variance of the Laplacian of the grey values (0..255); low is blurred or flat",
    "entropy": "of the grey values, 0 to 8 bits",
    "edge_density": "share of pixels on an edge (Canny)",
    "glcm_contrast": "co-occurrence of grey levels: contrast, in squared steps of 32 levels",
    "glcm_homogeneity": "co-occurrence of grey levels: homogeneity, 0 to 1",
    "glcm_energy": "co-occurrence of grey levels: energy, 0 to 1",
    **{
        f"lbp_{number}": f"local binary patterns: share of pixels with pattern {number} of 10"
        + (" (no uniform pattern)" if number == 9 else "")
        for number in range(10)
    },
    "spectrum_ratio": "log10 of power in low over power in high spatial frequencies (below / above 1/8 cycle a pixel)",
    **{
        f"spectrum_{number}": f"log10 of the share of the power in frequencies "
        f"{number / 16:g} to {(number + 1) / 16:g} cycles a pixel"
        for number in range(SPECTRUM_BANDS)
    },
}
"""What is measured of every image's content (at the prepared size, without padding), in order, and what it means."""
