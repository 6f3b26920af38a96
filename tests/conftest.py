"""What every test relies on: no telemetry, no network."""

from podium.core.shell import silence_telemetry

silence_telemetry()
