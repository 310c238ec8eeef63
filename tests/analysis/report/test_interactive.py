import json

from spinlock.analysis.report.interactive import CODE_COLUMNS, library, map_document


def models(node):
    """Give all models of a document that have a name or a type."""
    if isinstance(node, dict):
        if "type" in node:
            yield node
        for value in node.values():
            yield from models(value)
    elif isinstance(node, list):
        for value in node:
            yield from models(value)


def test_the_same_map_is_the_same_document_each_time():
    assert map_document("code-map", CODE_COLUMNS) == map_document("code-map", CODE_COLUMNS)


def test_maps_on_one_page_share_no_model():
    one = {model["id"] for model in models(map_document("a", ["token"])) if "id" in model}
    other = {model["id"] for model in models(map_document("b", ["token"])) if "id" in model}
    assert one
    assert not one & other


def test_the_source_has_the_name_by_which_the_script_fills_it():
    document = map_document("operator-map", ["operator", "tokens"])
    sources = [model for model in models(document) if model.get("name") == "ColumnDataSource"]
    assert [source["attributes"]["name"] for source in sources] == ["operator-map"]
    assert document["target_id"] == "operator-map"


def test_the_tooltip_shows_every_column():
    tooltips = [
        model["attributes"]["tooltips"]
        for model in models(map_document("a", ["operator", "tokens"]))
        if model.get("name") == "HoverTool"
    ]
    assert len(tooltips) == 1
    assert "@operator" in json.dumps(tooltips)
    assert "@tokens" in json.dumps(tooltips)


def test_the_library_is_there_whole_and_asks_for_nothing():
    script = library()
    assert "Bokeh" in script
    assert "</script" not in script
    assert "sourceMappingURL=http" not in script
