"""Steering: settings, live changes, metrics, logs and the admin API. It says how; others do."""
