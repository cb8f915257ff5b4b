"""Dashboards: five pages over the metrics, for a browser, and the same for Grafana."""
