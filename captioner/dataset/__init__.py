"""What a trainer will do with the folder: targets, caption forms, spans, the doctor and exports."""
