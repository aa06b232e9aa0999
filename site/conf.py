"""Sphinx's settings for the website; tools/site.py runs it."""

import os

project = "Async streaming with LangGraph, measured"
author = copyright = "the course authors"
extensions = ["myst_nb"]
nb_execution_mode = "off"
myst_enable_extensions = ["html_image"]
myst_heading_anchors = 3
suppress_warnings = ["misc.highlighting_failure", "myst.xref_missing"]
html_theme = "sphinx_book_theme"
html_static_path = ["print.css"]
html_css_files = [("print.css", {"media": "print"})]
html_title = "Async streaming, measured"
html_theme_options = {
    "show_navbar_depth": 1,
    # The theme's own colours for code are too pale to read on its grey.
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
    # The theme has these in the side bar, where the logo is in no landmark
    # and the search field stands a second time.
    "navbar_start": ["navbar-logo.html"],
    "navbar_persistent": ["search-button-field.html"],
}
html_sidebars = {"**": ["sbt-sidebar-nav.html"]}
repository = os.environ.get("COURSE_REPOSITORY", "")
if repository:
    html_theme_options |= {
        "repository_url": repository,
        "repository_branch": "main",
        "use_repository_button": True,
        "launch_buttons": {
            "binderhub_url": "https://mybinder.org",
            "colab_url": "https://colab.research.google.com",
            "notebook_interface": "jupyterlab",
        },
    }
