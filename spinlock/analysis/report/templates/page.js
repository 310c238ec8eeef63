"use strict";
// Maps, category explorer and feature search of the report. Names come from data files: they
// reach the page as text nodes only, never as markup.
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const data = read("report-data");
  const maps = read("report-maps");
  const byId = (id) => document.getElementById(id);

  const PALETTE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"];
  const OTHER = "#BFBFBF";
  // of each colour, for who does not tell colours apart: on the map, in the legend
  const MARKERS = ["circle", "square", "triangle", "diamond", "inverted_triangle", "plus", "star"];
  const SYMBOLS = ["●", "■", "▲", "◆", "▼", "✚", "★"];
  const RAMP = ["#00224e", "#123570", "#3b496c", "#575d6d", "#707173", "#8a8678", "#a59c74", "#c3b369", "#e1cc55", "#fee838"];
  const LEVEL_COLORS = ["#0072B2", "#6db1d8", "#bcdcee"];
  const LEVEL_SIZES = [9, 6, 4];
  const MOST_RESULTS = 60;

  // ---- small things -------------------------------------------------------------------------
  function element(tag, text, attributes = {}) {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    Object.assign(made, attributes);
    return made;
  }
  const number = (value) => {
    const text = Math.abs(value) >= 1e5 || (value && Math.abs(value) < 1e-3)
      ? value.toExponential(2) : String(Number(value.toPrecision(3)));
    return text.replaceAll("-", "−");  // of the exponent too
  };
  const counted = (count, one) => `${count} ${one}${count === 1 ? "" : "s"}`;
  const signed = (value) => (value < 0 ? "" : "+") + value.toFixed(1).replace("-", "−");
  function unpack(text, Kind) {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    return new Kind(bytes.buffer);
  }
  const shortCategory = (c) => data.categories[c].name.replace(/^category_/, "");

  // ---- operators ----------------------------------------------------------------------------
  const operators = data.operators;
  const count = operators.ids.length;
  const width = data.features.length;
  const z = unpack(operators.z, Int8Array);
  const tokens = unpack(operators.tokens, Uint16Array);
  const nCategories = data.categories.length;
  const nLevels = data.levels.length;
  function inUnits(feature, deviation) {
    if (!feature.log_beyond) return feature.center + deviation * feature.scale;
    const [low, high, unit] = feature.log_beyond;  // beyond the caps, deviations are logarithms
    const within = Math.min(Math.max(deviation, low), high);
    const beyond = deviation - within;
    const excess = Math.sign(beyond) * unit * Math.expm1(Math.abs(beyond) / unit);
    return feature.center + (within + excess) * feature.scale;
  }

  function tokenText(row) {
    return data.categories.map((_, c) => {
      const start = (row * nCategories + c) * nLevels;
      return shortCategory(c) + ": " + Array.from(tokens.subarray(start, start + nLevels)).join("·");
    }).join(", ");
  }
  function unusual(row, most) {
    const order = Array.from({ length: width }, (_, i) => i);
    const own = Array.from(z.subarray(row * width, (row + 1) * width), (value, i) => value * operators.z_step[i]);
    order.sort((a, b) => Math.abs(own[b]) - Math.abs(own[a]) || a - b);
    return order.slice(0, most).map((i) => {
      const deviation = own[i];
      const value = number(inUnits(data.features[i], deviation));
      return `${data.features[i].name} ≈ ${value} (${signed(deviation)})`;
    }).join(", ");
  }
  function labelText(row) {
    return Object.entries(operators.labels)
      .map(([name, label]) => `${name.split("/").pop()}: ${label.kinds[label.index[row]]}`).join(", ");
  }
  const operatorColumns = {
    operator: operators.ids.map(String),
    split: operators.split,
    labels: operators.ids.map((_, row) => labelText(row)),
    tokens: operators.ids.map((_, row) => tokenText(row)),
    unusual: operators.ids.map((_, row) => unusual(row, 4)),
  };

  // ---- colours ------------------------------------------------------------------------------
  function byKind(kinds, index) {
    const counts = kinds.map(() => 0);
    index.forEach((kind) => { counts[kind] += 1; });
    const frequent = counts.map((_, kind) => kind).sort((a, b) => counts[b] - counts[a] || a - b)
      .slice(0, PALETTE.length).sort((a, b) => a - b);
    const place = new Map(frequent.map((kind, i) => [kind, i]));
    const entries = frequent.map((kind, i) => [PALETTE[i], kinds[kind], SYMBOLS[i]]);
    const rest = kinds.filter((_, kind) => !place.has(kind));
    if (rest.length) entries.push([OTHER, rest.length === 1 ? rest[0] : "other"]);
    return {
      colors: index.map((kind) => PALETTE[place.get(kind)] || OTHER),
      markers: index.map((kind) => MARKERS[place.get(kind)] || MARKERS[0]),
      entries,
    };
  }
  function byFeature(i) {
    const column = operators.ids.map((_, row) => z[row * width + i] * operators.z_step[i]);
    const sorted = [...column].sort((a, b) => a - b);
    const at = (share) => sorted[Math.round(share * (sorted.length - 1))];
    const low = at(0.02), high = Math.max(at(0.98), low + operators.z_step[i]);
    const colors = column.map((value) => {
      const step = Math.floor((value - low) / (high - low) * RAMP.length);
      return RAMP[Math.min(Math.max(step, 0), RAMP.length - 1)];
    });
    const feature = data.features[i];
    return { colors, ramp: [number(inUnits(feature, low)), number(inUnits(feature, high))], name: feature.name };
  }
  function byToken(c) {
    const codes = operators.ids.map((_, row) => tokens[(row * nCategories + c) * nLevels]);
    const kinds = [...new Set(codes)].sort((a, b) => a - b);
    const position = new Map(kinds.map((code, i) => [code, i]));
    return byKind(kinds.map(String), codes.map((code) => position.get(code)));
  }
  function coloring(choice) {
    const [kind, ...rest] = choice.split(":");
    const key = rest.join(":");
    if (kind === "feature") return byFeature(Number(key));
    if (kind === "token") return byToken(Number(key));
    if (kind === "label") return byKind(operators.labels[key].kinds, operators.labels[key].index);
    const sides = [...new Set(operators.split)];
    return byKind(sides, operators.split.map((side) => sides.indexOf(side)));
  }
  function drawLegend(target, shown) {
    target.replaceChildren();
    if (shown.ramp) {
      target.append(element("span", shown.name), element("span", shown.ramp[0]));
      const ramp = element("i", "", { className: "ramp" });
      ramp.style.background = `linear-gradient(to right, ${RAMP.join(",")})`;
      target.append(ramp, element("span", shown.ramp[1]));
      return;
    }
    shown.entries.forEach(([color, name, symbol = SYMBOLS[0]]) => {
      const entry = element("span");
      const mark = element("i", symbol);
      mark.style.color = color;
      entry.append(mark, document.createTextNode(name));
      target.append(entry);
    });
  }

  // ---- maps ---------------------------------------------------------------------------------
  async function embed(name) {
    await Bokeh.embed.embed_item(maps[name]);
    const model = Bokeh.documents[Bokeh.documents.length - 1];
    const plot = model.roots()[0];
    // a finger on the map should scroll the page until panning is asked for
    if (window.matchMedia("(pointer: coarse)").matches) plot.toolbar.active_drag = null;
    return { plot, source: model.get_model_by_name(name) };
  }
  function offer(select, entries) {
    entries.forEach(([value, text]) => select.append(element("option", text, { value })));
  }
  function offerColors(select) {
    const group = (name, entries) => {
      const made = element("optgroup", undefined, { label: name });
      entries.forEach(([value, text]) => made.append(element("option", text, { value })));
      if (entries.length) select.append(made);
    };
    group("labels", [...Object.keys(operators.labels).map((name) => ["label:" + name, name]), ["split:", "split"]]);
    group("coarse token of category", data.categories.map((one, c) => ["token:" + c, one.name]));
    group("feature", data.features.map((one, i) => ["feature:" + i, `${one.family}/${one.name}`]));
  }

  let operatorMap = null;
  async function startOperators() {
    const methods = Object.keys(operators.maps);
    offer(byId("operator-method"), methods.map((name) => [name, name]));
    offerColors(byId("operator-color"));
    byId("operator-color").value = "feature:" + data.color_by;
    if (!methods.length) {
      byId("operator-note").textContent = "There are too few operators for a map.";
      byId("operator-map").remove();
      return;
    }
    if (count < operators.of) {
      byId("operator-note").textContent = `This page holds ${count} of the ${operators.of} operators that the figures draw.`;
    }
    operatorMap = await embed("operator-map");
    drawOperators();
    operatorMap.source.selected.change.connect(() => showOperator(operatorMap.source.selected.indices[0]));
    byId("operator-method").addEventListener("change", drawOperators);
    byId("operator-color").addEventListener("change", drawOperators);
    byId("operator-search").addEventListener("input", findOperator);
  }
  function drawOperators() {
    const shown = coloring(byId("operator-color").value);
    drawLegend(byId("operator-legend"), shown);
    if (!operatorMap) return;
    const [x, y] = operators.maps[byId("operator-method").value];
    operatorMap.source.data = {
      x, y, color: shown.colors, marker: shown.markers || x.map(() => MARKERS[0]),
      alpha: x.map(() => 0.8), size: x.map(() => 7), ...operatorColumns,
    };
  }
  function findOperator() {
    const wanted = byId("operator-search").value.trim();
    const row = operatorColumns.operator.indexOf(wanted);
    operatorMap.source.selected.indices = row < 0 ? [] : [row];
    if (row < 0 && wanted) byId("operator-details").textContent = `Operator ${wanted} is not on this page.`;
  }
  function showOperator(row) {
    const details = byId("operator-details");
    details.replaceChildren();
    if (row === undefined) return;
    details.append(element("strong", `Operator ${operatorColumns.operator[row]} (${operators.split[row]})`));
    [["labels", operatorColumns.labels[row]], ["tokens", operatorColumns.tokens[row]], ["unusual", unusual(row, 12)]]
      .forEach(([name, text]) => { if (text) details.append(element("div", `${name}: ${text}`)); });
  }

  let codeMap = null;
  async function startCodes() {
    const methods = Object.keys(data.codes.maps);
    offer(byId("code-method"), methods.map((name) => [name, name]));
    if (!methods.length) {
      byId("code-note").textContent = "There are too few codes for a map.";
      byId("code-map").remove();
      return;
    }
    codeMap = await embed("code-map");
    drawCodes();
    byId("code-method").addEventListener("change", drawCodes);
  }
  function drawCodes() {
    if (!codeMap) return;
    const codes = data.codes;
    const chosen = Number(byId("category-choice").value);
    const [x, y] = codes.maps[byId("code-method").value];
    const mine = codes.category.map((c) => c === chosen);
    codeMap.source.data = {
      x, y,
      color: codes.level.map((level, i) => (mine[i] ? PALETTE[level % PALETTE.length] : OTHER)),
      marker: x.map(() => MARKERS[0]),
      alpha: mine.map((own) => (own ? 0.9 : 0.35)),
      size: codes.level.map((level) => LEVEL_SIZES[Math.min(level, LEVEL_SIZES.length - 1)]),
      token: codes.code.map((code, i) => `${data.categories[codes.category[i]].name} ${data.levels[codes.level[i]]} ${code}`),
      count: codes.count.map((times) => counted(times, "operator")),
      change: codes.features.map((features, i) => features
        .map((f, k) => `${data.features[f].name} ${signed(codes.change[i][k])}`).join(", ")),
    };
    const entries = data.levels.map((name, level) => [PALETTE[level % PALETTE.length], name]);
    drawLegend(byId("code-legend"), { entries: [...entries, [OTHER, "other categories"]] });
  }

  // ---- features and categories --------------------------------------------------------------
  function qualityBar(quality) {
    const bars = element("div", undefined, { className: "bars" });
    const last = quality[quality.length - 1];
    if (last === null) return element("span", "constant here");
    const track = element("span", undefined, { className: "track" });
    // later levels reach further, so they are drawn first and earlier ones over them
    quality.map((value, level) => [value, level]).reverse().forEach(([value, level]) => {
      const bar = element("i");
      bar.style.width = `${100 * Math.max(0, Math.min(1, value))}%`;
      bar.style.background = LEVEL_COLORS[Math.min(level, LEVEL_COLORS.length - 1)];
      track.append(bar);
    });
    bars.title = quality.map((value, level) => `${data.levels[level]} ${value}`).join(", ");
    bars.append(track, element("span", last.toFixed(3).replace("-", "−")));
    return bars;
  }
  function featureRow(i, withCategory) {
    const feature = data.features[i];
    const row = element("tr");
    const name = element("td", feature.name);
    const category = element("td");
    if (withCategory) {
      category.append(element("button", data.categories[feature.category].name, {
        type: "button", onclick: () => chooseCategory(feature.category),
      }));
    }
    const quality = element("td");
    quality.append(qualityBar(feature.quality));
    const action = element("td");
    action.append(element("button", "on the map", { type: "button", onclick: () => colorBy(i) }));
    row.append(name, element("td", feature.family), category,
      element("td", `${number(feature.center)} ± ${number(feature.scale)}`), quality, action);
    return row;
  }
  function colorBy(i) {
    byId("operator-color").value = "feature:" + i;
    drawOperators();
    byId("section-operators").scrollIntoView();
  }
  function search() {
    const words = byId("feature-search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = data.features.map((_, i) => i).filter((i) => {
      const feature = data.features[i];
      const text = `${feature.family}/${feature.name} ${data.categories[feature.category].name}`.toLowerCase();
      return words.every((word) => text.includes(word));
    });
    byId("feature-count").textContent = `${found.length} of ${width} features`
      + (found.length > MOST_RESULTS ? `, the first ${MOST_RESULTS} shown` : "");
    byId("feature-results").tBodies[0].replaceChildren(
      ...found.slice(0, MOST_RESULTS).map((i) => featureRow(i, true)));
  }
  function chooseCategory(c) {
    byId("category-choice").value = String(c);
    drawCategory();
    byId("section-categories").scrollIntoView();
  }
  function drawCategory() {
    const category = data.categories[Number(byId("category-choice").value)];
    const sizes = category.sizes.map((size, level) => `${data.levels[level]} ${size}`).join(", ");
    byId("category-summary").textContent = `${counted(category.members.length, "feature")}; codes: ${sizes}`;
    byId("category-features").tBodies[0].replaceChildren(...category.members.map((i) => featureRow(i, false)));
    byId("category-tokens").tBodies[0].replaceChildren(...category.tokens.map((token) => {
      const row = element("tr");
      const what = token.features
        .map((i, k) => `${data.features[i].name} ${signed(token.deviation[k])}`).join(", ");
      row.append(element("td", `${data.levels[0]} ${token.code}`), element("td", `${(100 * token.share).toFixed(1)} %`),
        element("td", what), element("td", token.operators.join(", ")));
      return row;
    }));
    drawCodes();
  }

  offer(byId("category-choice"), data.categories.map((one, c) => [String(c), one.name]));
  byId("category-choice").addEventListener("change", drawCategory);
  byId("feature-search").addEventListener("input", search);
  search();
  drawCategory();
  (async () => {
    Bokeh.set_log_level("error");
    await startOperators();
    await startCodes();
    document.documentElement.dataset.ready = "true";
  })();
})();
