"""Explanation methods as people bring them: functions that return an attribution and show no layers."""
