"""Video Caption Suite: caption folders of videos and images with a vision-language model.

Importing the package reads no file and loads no model. `captioner.services.Services` is the way in for programs.
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
