"""What the studies say, value by value, and where they say it; `test_studies.py` holds `experiments/` against it."""

from typing import NamedTuple


class Said(NamedTuple):
    """One value of a study: the experiment of its name, the dotted key, the value, the part of the study.

    Keys of a model (`models.resnet18.train.schedule`) are those of its complete section: its own over the common one.
    """

    study: str
    key: str
    value: object
    where: str


S, F, C, R = "surveillance", "fruits_vegetables", "classic_cnns", "resnet_vs_convnext"
PAPERS = ("alexnet", "vgg16", "googlenet", "resnet18", "resnet50")
RESNETS = ("resnet18", "resnet50", "resnet50_features", "resnet50_finetuned")
STUDIES = (
    # person, animal or object in crops of Open Images, ResNet-18 and then ResNet-50
    Said(S, "dataset.source", "openimages", "data"),
    Said(S, "dataset.splits", "draw", "data: 8:2, so not the splits of Open Images"),
    Said(S, "dataset.subsets", ["train"], "data"),
    Said(S, "dataset.limit_per_class", 62_000 // 3 + 1, "data: 62,000 photographs, about 41,000 crops"),
    Said(S, "preprocess.train", 0.7, "data: 8:2; 1 part of the 8 becomes val"),
    Said(S, "preprocess.val", 0.1, "data: 8:2; 1 part of the 8 becomes val"),
    Said(S, "preprocess.test", 0.2, "data: 8:2"),
    Said(S, "preprocess.train_placement", "random", "preprocessing: random placement"),
    Said(S, "train.augment.flip", True, "augmentation"),
    Said(S, "train.augment.brightness", 0.2, "augmentation: colour jitter"),
    Said(S, "train.augment.contrast", 0.2, "augmentation: colour jitter"),
    Said(S, "train.augment.saturation", 0.2, "augmentation: colour jitter"),
    Said(S, "train.augment.hue", 0.1, "augmentation: colour jitter"),
    Said(S, "train.augment.crop_area", 1.0, "augmentation: no crop"),
    Said(S, "train.augment.shift", 0.0, "augmentation: no more than these"),
    Said(S, "train.views", None, "augmentation: new in every epoch"),
    Said(S, "models.resnet18.architecture", "torchvision/resnet18", "model"),
    Said(S, "models.resnet18.weights", "ResNet18_Weights.IMAGENET1K_V1", "model: ResNet18_Weights.DEFAULT"),
    Said(S, "models.resnet50.architecture", "torchvision/resnet50", "model"),
    Said(S, "models.resnet18.head.dropout", 0.3, "model"),
    Said(S, "models.resnet18.trainable", "last_stage", "model: last block and head learn"),
    Said(S, "train.loss.kind", "focal", "loss"),
    Said(S, "train.loss.gamma", 2.0, "loss"),
    Said(S, "train.loss.label_smoothing", 0.0, "loss"),
    Said(S, "train.optimizer", "adamw", "optimiser"),
    Said(S, "train.learning_rate", 1e-5, "optimiser"),
    Said(S, "train.weight_decay", 0.01, "optimiser: AdamW's default"),
    Said(S, "train.decay_norms_and_biases", True, "optimiser: one group of all parameters"),
    Said(S, "train.batch_size", 128, "training"),
    Said(S, "train.epochs", 50, "training"),
    Said(S, "train.schedule", "cosine", "schedule: CosineAnnealingLR"),
    Said(S, "train.cycle_epochs", 25.0, "schedule: T_max is half of the epochs"),
    Said(S, "train.warmup_epochs", 0.0, "schedule: no warm-up"),
    Said(
        S, "train.early_stopping", {"patience": 3, "min_delta": 0.0, "monitor": "loss"}, "training: on the focal loss"
    ),
    Said(S, "promote.minimum_accuracy", 0.9, "goal"),
    Said(S, "promote.minimum_macro_f1", 0.9, "goal"),
    Said(S, "models.resnet18_distilled.distil.teacher", "resnet50", "next: compression"),
    Said(S, "models.resnet18_distilled.architecture", "torchvision/resnet18", "next: compression"),
    # 36 kinds of fruits and vegetables
    Said(F, "dataset.location", "kritikseth/fruit-and-vegetable-image-recognition", "data"),
    Said(F, "train.learning_rate", 1e-4, "training"),
    Said(F, "models.cnn.train.learning_rate", 1e-4, "training"),
    Said(F, "models.resnet50.train.learning_rate", 1e-4, "training"),
    Said(F, "models.vgg16.train.learning_rate", 1e-5, "training: VGG"),
    Said(F, "models.vgg16_attention.train.learning_rate", 1e-5, "training: VGG"),
    Said(F, "models.cnn_attention.attention_at", "blocks", "models: CNN and attention within the network"),
    Said(F, "models.vgg16_attention.attention_at", "features", "models: attention on the features"),
    Said(F, "models.vgg16_attention.trainable", "head", "models: of a frozen pretrained network"),
    Said(F, "models.resnet50_attention.attention_at", "features", "models: attention on the features"),
    Said(F, "models.resnet50_attention.trainable", "head", "models: of a frozen pretrained network"),
    # the networks that made the field
    *(Said(C, f"models.{model}.weights", "none", "models: from random weights") for model in PAPERS),
    *(Said(C, f"models.{model}.init", "xavier", "ResNet: initialisation") for model in ("resnet18", "resnet50")),
    *(Said(C, f"models.{model}.train.schedule", "plateau", "ResNet: the rate falls on a plateau") for model in RESNETS),
    *(Said(C, f"models.{model}.train.weight_decay", 1e-4, "ResNet") for model in RESNETS),
    Said(C, "models.resnet18.train.learning_rate", 0.1, "ResNet"),
    Said(C, "models.alexnet.train.batch_size", 128, "AlexNet"),
    Said(C, "models.alexnet.train.learning_rate", 0.01, "AlexNet"),
    Said(C, "models.alexnet.head.dropout", 0.5, "AlexNet"),
    Said(C, "models.vgg16.train.learning_rate", 0.01, "VGG"),
    Said(C, "models.googlenet.head.dropout", 0.4, "GoogLeNet"),
    Said(C, "models.googlenet.train.step_epochs", 8, "GoogLeNet: the rate falls by 4 % every 8 epochs"),
    Said(C, "models.googlenet.train.step_factor", 0.96, "GoogLeNet: the rate falls by 4 % every 8 epochs"),
    Said(C, "models.alexnet_features.trainable", "head", "feature extraction"),
    Said(C, "models.resnet50_finetuned.trainable", "all", "fine-tuning"),
    Said(C, "train.momentum", 0.9, "all papers"),
    Said(C, "train.early_stopping", None, "all papers"),
    # ResNet-50 against ConvNeXt-Tiny
    Said(R, "models.resnet50_10.train.epochs", 10, "training: 10 epochs"),
    Said(R, "models.convnext_tiny_10.train.epochs", 10, "training: 10 epochs"),
    Said(R, "models.resnet50_20.train.epochs", 20, "training: 20 epochs"),
    Said(R, "models.convnext_tiny_20.train.epochs", 20, "training: 20 epochs"),
    Said(R, "train.early_stopping", None, "training: no early stopping"),
)
