"""The ways in which trainers use a folder: targets, caption forms, spans, the doctor and exports."""
