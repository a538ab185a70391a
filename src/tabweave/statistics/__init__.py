"""Every metric that is reported: its value, its interval, the difference of two models.

Plain NumPy in float64. One formula gives the value and each resample of its interval.
"""
