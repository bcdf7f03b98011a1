"""The page that `vlm3 app` serves: photos are dropped on it, pixels clicked, answers read.

What is shown for which input stands in functions that know no gradio; `page` wires them to it, and
`serve` starts and ends the server.
"""
