"""Measuring this machine: throughput, waiting, and quality per minute."""
