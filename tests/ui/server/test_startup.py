"""The import of Gradio in a process of its own, as `serve` does it."""

import subprocess
import sys

SCRIPT = """
import sys
opened, imported = [], []
def note(event, args):
    if event == "open": opened.append(str(args[0]))
    if event == "import": imported.append(args[0])
sys.addaudithook(note)
from captioner.ui.server.startup import import_gradio
import_gradio()
import gradio as gr
with gr.Blocks(analytics_enabled=False) as blocks:
    gr.Textbox()
blocks.queue()
print([path for path in opened if path.endswith(".pyi")], "pandas.core" in imported, blocks.app)
print(sorted({"gradio.cli.cli", "pygments", "rich.console", "tomlkit"} & set(imported)))
import pandas.errors, inspect
print(pandas.DataFrame({"a": [1]}).a.sum(), inspect.getfile(gr.Textbox).endswith("textbox.py"))
blocks.launch(prevent_thread_lock=True, quiet=True, ssr_mode=False)
print(len(blocks.config["components"]), blocks.app is not None, "gradio.cli.cli" in imported)
"""


def test_gradio_is_imported_without_what_a_page_does_not_need():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120)
    assert done.stdout.split("\n")[:4] == ["[] False None", "[]", "1 True", "2 True False"], done.stderr
