"""Typed settings of experiments and datasets; importing this loads nothing heavy."""

from spinlock.settings.dataset import OperatorDatasetSettings, simulation_settings
from spinlock.settings.experiment import STAGES, Experiment, doubtful_settings, stage_settings
from spinlock.settings.loading import load_dataset_settings, load_experiment, to_yaml

__all__ = [
    "STAGES",
    "Experiment",
    "OperatorDatasetSettings",
    "doubtful_settings",
    "load_dataset_settings",
    "load_experiment",
    "simulation_settings",
    "stage_settings",
    "to_yaml",
]
