"""Optuna prints a line for every trial unless it is told not to."""

import optuna

optuna.logging.set_verbosity(optuna.logging.WARNING)
