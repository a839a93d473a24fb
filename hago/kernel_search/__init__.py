"""The schedules of kernels, by measurement: raced on this computer, kept for later compilations."""
