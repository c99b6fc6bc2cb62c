"""What the interface knows, apart from how it is drawn. Nothing here imports Textual.

document.py    the recipe's text as the truth, with undo; files.py and autosave.py keep it, checking.py checks it
outline.py     where things stand in the text; splice.py, nodes.py, wires.py, adding.py edit it byte for byte
typed_lines.py what was typed into lines, put into the text; colouring.py the colours of a line
fields.py      the form of a node, from its method; choices.py and schedules.py fill it
graph.py       what is drawn: nodes, their inputs, their state; reading.py makes it from the engine's Recipe or Graph
sketch.py      the same of a text that is not valid yet
wiring.py      which wires may be drawn, and in which order nodes come
layers.py      nodes to layers, long wires to passages; order.py sorts a layer, across.py places it
tracks.py      where the wires between two layers bend
layered.py     all of it: a Drawing (drawing.py) in whole cells; fit.py picks the size that fits
glyphs.py      the characters; cells.py paints a Drawing with them
rail.py        one node a row
text.py        a drawing as lines of text
runs.py        runs as child processes that outlive the interface; followed.py looks at one, measuring.py at statistics
progress.py    pace, time left and shares from what a run publishes; run_rows.py and meters.py say them
preparing.py   a run before it begins; planned.py what the plan dialog says of it, steps.py what a tile goes through
records.py     which record of statistics belongs to a recipe; loaded.py reads it, heat.py, detail.py, by_layer.py and
               tensor_rows.py say it, plot.py draws lines
mixing.py      how much of each source is in a result; preview.py what another number would do
cell_rules.py  chosen cells as rules of a schedule; rule_targets.py where they can go, curve.py a schedule as a curve
recipes.py     recipes that can be opened; shelf.py models that can be loaded; offers.py what can be added
key_map.py     keys of the user's own; chosen_theme.py the theme chosen last
"""
