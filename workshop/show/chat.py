"""A page of this machine in a frame below a cell."""

from __future__ import annotations

import html
from urllib.parse import urlsplit

import ipywidgets as widgets
from IPython.display import display

# The frame finds its page itself, for only the browser knows how it came
# here. On this machine it asks the same host as JupyterLab, or the browser
# would keep the page's cookie back. Elsewhere, as on a Hub, it goes through
# jupyter-server-proxy.
FIND = """<!DOCTYPE html><title>{title}</title><script>
const port = "{port}", here = parent.location;
if (["localhost", "127.0.0.1"].includes(here.hostname)) {{
  location.replace(`http://${{here.hostname}}:${{port}}/`);
}} else {{
  const config = parent.document.getElementById("jupyter-config-data");
  const base = config ? JSON.parse(config.textContent).baseUrl : "/";
  location.replace(`${{here.origin}}${{base}}proxy/${{port}}/`);
}}
</script>"""

# A frame's own `prefers-color-scheme` follows the scheme of its element.
FRAME = """<style>
.workshop-chat {{
  box-sizing: border-box; width: 100%; height: 26rem;
  border: 1px solid var(--jp-border-color2, #aaa);
}}
[data-jp-theme-light="true"] .workshop-chat {{ color-scheme: light; }}
[data-jp-theme-light="false"] .workshop-chat {{ color-scheme: dark; }}
</style>
<iframe class="workshop-chat" title="{title}" srcdoc="{find}"></iframe>"""


def frame(url: str, title: str = "Chat with the service") -> None:
    """Show the page at ``url``, an address of this machine, in a frame."""
    title = html.escape(title)
    find = FIND.format(title=title, port=urlsplit(url).port)
    page = widgets.HTML(layout=widgets.Layout(width="100%"))
    display(page)
    page.value = FRAME.format(title=title, find=html.escape(find))
