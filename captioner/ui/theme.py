"""The look of the page: Gradio's theme, and the style sheets in their order."""

from pathlib import Path

import gradio as gr

HERE = Path(__file__).parent
_SHEETS = (
    "page", "server/login", "runs/card", "runs/machine", "gallery/toolbar", "gallery/grid", "gallery/panel",
    "runs/dialogs", "server/uploads", "settings/tab", "prompts/tab", "compare/dialog", "dataset/tab",
    "dataset/statistics",
)  # fmt: skip
CSS = [HERE / f"{name}.css" for name in _SHEETS]
SYSTEM_FONTS = ["system-ui", "Segoe UI", "Roboto", "Helvetica Neue", "sans-serif"]
THEME = gr.themes.Base(
    primary_hue="indigo", neutral_hue="slate", font=SYSTEM_FONTS, font_mono=["ui-monospace", "monospace"]
).set(  # fields have no frames; the style sheets draw frames around groups
    body_background_fill="*neutral_100",
    body_background_fill_dark="*neutral_950",
    background_fill_primary_dark="*neutral_900",
    body_text_color_subdued="*neutral_600",
    body_text_color_subdued_dark="*neutral_400",
    block_info_text_color="*body_text_color_subdued",
    block_background_fill="transparent",
    block_background_fill_dark="transparent",
    block_border_width="0px",
    block_padding="0px",
    block_title_text_color="*body_text_color",
    block_title_text_size="13px",
    block_title_text_weight="500",
    block_info_text_size="12px",
    button_large_text_size="14px",
    button_large_padding="7px 16px",
    button_large_text_weight="500",
    button_primary_background_fill="*primary_600",
    button_primary_background_fill_dark="*primary_600",
    button_primary_background_fill_hover="*primary_700",
    button_primary_background_fill_hover_dark="*primary_700",
    form_gap_width="0px",
    input_background_fill="white",
    input_background_fill_dark="*neutral_950",
    input_border_width="1px",
    input_border_color="*neutral_300",
    input_border_color_dark="*neutral_700",
    input_padding="7px 10px",
    input_text_size="14px",
    layout_gap="10px",
)
