"""Tests of `keras_sac.calibration`."""
