"""Data sets of public bug reports: files that were silently dropped or wrongly read, which the doctor now names."""

from tests.dataset.golden import SETTINGS, Folder, doctor, doctor_of


def messages(found, code):
    return {each.file: each.message.partition(",")[0] for each in found if each.code == code}


def test_clips_are_counted_at_the_rate_of_the_model(media, tmp_path):
    """tdrussell/diffusion-pipe#391 and #113: Wan is trained at 16 frames a second, so 101 frames at 24 are 67."""
    folder = Folder(tmp_path / "set", SETTINGS["pipe-wan"], media)
    for stem, num_frames in (("a", 101), ("b", 113), ("c", 60), ("d", 40)):
        folder.clip(f"{stem}.mp4", num_frames, 24)
        folder.caption(stem)
    found = doctor(folder.path, "pipe-wan", tmp_path)
    frames = {"a.mp4": 67, "b.mp4": 75, "c.mp4": 40}
    assert messages(found, "clip-bucket") == {name: f"it has {n} frames at 16 a second" for name, n in frames.items()}
    assert messages(found, "clip-short") == {"d.mp4": "it has 26 frames at 16 a second"}


def test_configurations_in_the_folder_are_taken_for_media(media, tmp_path):
    """tdrussell/diffusion-pipe#93: config.toml and dataset.toml beside the clips."""
    folder = Folder(tmp_path / "set", SETTINGS["pipe"], media)
    for name in ("config.toml", "dataset.toml"):
        (folder.path / name).write_text("[[directory]]")
    found = doctor(folder.path, "pipe", tmp_path)
    assert [(each.file, each.code) for each in found] == [("config.toml", "media-like"), ("dataset.toml", "media-like")]


def test_a_clip_under_the_smallest_bucket_shifts_no_caption_unnoticed(media, tmp_path):
    """Lightricks/LTX-Video-Trainer#59: a clip of 25 frames among those of 33 was skipped, and its caption was not."""
    folder = Folder(tmp_path / "set", SETTINGS["ltx"], media)
    folder.clip("dog.mp4", 25)
    folder.write_list()
    assert [(each.file, each.code) for each in doctor(folder.path, "ltx", tmp_path)] == [("dog.mp4", "clip-short")]


def test_a_head_of_150_frames_skips_a_clip_of_124(media, tmp_path):
    """kohya-ss/musubi-tuner#99: what becomes of a clip that is shorter than target_frames."""
    folder = Folder(tmp_path / "set", SETTINGS["musubi"], media)
    folder.clip("short.mp4", 124)
    folder.caption("short")
    found = doctor_of(folder.path, SETTINGS["musubi"], tmp_path, target_frames=150)
    assert messages(found, "clip-short")["short.mp4"] == "it has 124 frames at 16 a second"


def test_an_empty_caption_stops_and_text_files_are_no_images(media, tmp_path):
    """cocktailpeanut/fluxgym#144 and #225: "caption file is empty" of sd-scripts; captions counted as images."""
    folder = Folder(tmp_path / "set", SETTINGS["sd"], media)
    (folder.path / "one.txt").write_bytes(b"")
    [found] = doctor(folder.path, "sd", tmp_path)
    assert (found.file, found.code) == ("one.png", "caption-empty")
    assert "stops: caption file is empty" in found.message


def test_captions_of_another_extension_are_not_read(media, tmp_path):
    """bmaltais/kohya_ss#988, #927 and #1370: captions that were ignored because of their extension."""
    folder = Folder(tmp_path / "set", SETTINGS["sd"], media)
    for stem in ("one", "two"):
        (folder.path / f"{stem}.txt").rename(folder.path / f"{stem}.caption")
    assert {each.code for each in doctor(folder.path, "sd", tmp_path)} == {"caption-extension"}
    assert doctor_of(folder.path, SETTINGS["sd"], tmp_path, caption_extension=".caption") == []


def test_an_image_without_a_caption_stops_simpletuner(media, tmp_path):
    """bghira/SimpleTuner#1100: it cannot skip them."""
    folder = Folder(tmp_path / "set", SETTINGS["simpletuner"], media)
    folder.image("still.png")
    [found] = doctor(folder.path, "simpletuner", tmp_path)
    assert (found.file, found.severity) == ("still.png", "error")
    assert "FileNotFoundError" in found.message
