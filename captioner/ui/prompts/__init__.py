"""The prompt library tab."""
