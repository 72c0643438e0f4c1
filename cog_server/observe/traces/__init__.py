"""Traces of predictions, in OpenTelemetry's format. Imported only where there is somebody to send them to."""
