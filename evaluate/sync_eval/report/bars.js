// Segmentation bars: a card for each recording, filled when it comes in sight.

const TICKS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 3600];
const SHOWN_METRICS = [0, 2, 4]; // edit, F1@25 and MoF of Table 1's five
const LEAST_TEXT_PIXELS = 34;

const cards = []; // of every recording, in the data's order
let seedShown = null;

const sight = new IntersectionObserver(
  (entries) => entries.forEach((entry) => entry.isIntersecting && fillCard(cards[entry.target.dataset.index])),
  { rootMargin: "600px" },
);

// Segments {start, stop, classId} in seconds from the flat numbers of the data.
function unpack(flat) {
  const segments = [];
  for (let at = 0; at < flat.length; at += 3) {
    segments.push({ start: flat[at] / 1000, stop: (flat[at] + flat[at + 1]) / 1000, classId: flat[at + 2] });
  }
  return segments;
}

// Index of the shown seed among a row's; its lowest where it hasn't that one.
function seedIndex(row) {
  return Math.max(0, row.seeds.indexOf(seedShown));
}

// The row's name, and its seed where that isn't the chosen one.
function nameOf(row) {
  const seed = row.seeds[seedIndex(row)];
  return seed === seedShown ? row.name : `${row.name} (seed ${seed})`;
}

// Bars of a recording for the shown seed: ground truth first, then each row that was tested on it.
function barsOf(recording) {
  const bars = recording.truth.length ? [{ name: "ground truth", isTruth: true, segments: unpack(recording.truth) }] : [];
  report.rows.forEach((row, index) => {
    const ofSeeds = recording.bars[index];
    if (ofSeeds === null) return;
    const at = seedIndex(row);
    bars.push({ name: nameOf(row), segments: unpack(ofSeeds[at]), scores: recording.scores[index][at] });
  });
  return bars;
}

function limitsOf(recording) {
  let [start, stop] = [Infinity, -Infinity];
  for (const flat of [recording.truth, ...recording.bars.filter((bar) => bar !== null).flat()]) {
    for (let at = 0; at < flat.length; at += 3) {
      start = Math.min(start, flat[at] / 1000);
      stop = Math.max(stop, (flat[at] + flat[at + 1]) / 1000);
    }
  }
  return start < stop ? { start, stop } : { start: 0, stop: 1 };
}

function makeCard(recording, index) {
  const element = make("article", "recording");
  element.dataset.index = String(index);
  const header = make("header");
  header.append(make("h3", "", recording.name));
  const limits = limitsOf(recording);
  const numSegments = recording.truth.length / 3;
  const told = [recording.procedure, seconds(limits.stop - limits.start), numSegments ? `${numSegments} segments` : "no labels"];
  header.append(make("span", "dim", told.filter(Boolean).join(" · ")));
  const bars = make("div", "bars");
  bars.tabIndex = 0;
  bars.setAttribute("role", "slider");
  bars.setAttribute("aria-label", `Time in ${recording.name}`);
  bars.setAttribute("aria-valuemin", limits.start.toFixed(1));
  bars.setAttribute("aria-valuemax", limits.stop.toFixed(1));
  bars.setAttribute("aria-valuenow", limits.start.toFixed(1));
  const numBars = 1 + recording.bars.filter((bar) => bar !== null).length;
  bars.style.minHeight = `${numBars * 23 + 40}px`;
  element.append(header, bars);
  return { index, recording, element, bars, limits, shown: [], playhead: make("div", "playhead"), isFilled: false };
}

function fillCard(card) {
  if (card.isFilled) return;
  card.isFilled = true;
  card.shown = barsOf(card.recording);
  const rows = [make("span"), make("span"), headOfValues()];
  const width = Math.max(200, card.bars.clientWidth - 360);
  for (const bar of card.shown) {
    const name = make("span", bar.isTruth ? "name truth" : "name", bar.name);
    name.title = bar.name;
    rows.push(name, makeTrack(card, bar, width), makeValues(bar.scores));
  }
  rows.push(make("span", "name dim unit", "seconds"), makeAxis(card.limits, width), make("span"));
  const overlay = make("div", "overlay");
  overlay.style.gridRow = `2 / ${card.shown.length + 3}`;
  overlay.append(card.playhead);
  rows.forEach((cell, at) => {
    cell.style.gridRow = String(Math.floor(at / 3) + 1);
    cell.style.gridColumn = String((at % 3) + 1);
  });
  card.bars.replaceChildren(...rows, overlay);
  card.playhead.hidden = true;
  if (player.card === card) player.showTime();
}

function makeTrack(card, bar, width) {
  const track = make("div", "track");
  const length = card.limits.stop - card.limits.start;
  for (const segment of bar.segments) {
    const { name, color } = report.classes[segment.classId];
    const element = make("div", isDark(color) ? "segment dark" : "segment light");
    element.style.left = `${(100 * (segment.start - card.limits.start)) / length}%`;
    element.style.width = `${(100 * (segment.stop - segment.start)) / length}%`;
    element.style.background = color;
    element.title = `${name}\n${segment.start.toFixed(2)}–${segment.stop.toFixed(2)} s`;
    element.dataset.start = String(segment.start);
    if ((width * (segment.stop - segment.start)) / length > LEAST_TEXT_PIXELS) element.append(make("span", "", name));
    track.append(element);
  }
  return track;
}

function headOfValues() {
  const head = make("span", "values head");
  SHOWN_METRICS.forEach((metric) => head.append(make("span", "", report.metrics[metric])));
  return head;
}

function makeValues(scores) {
  const values = make("span", "values");
  if (scores) SHOWN_METRICS.forEach((metric) => values.append(make("span", "", scores[metric].toFixed(1))));
  return values;
}

function makeAxis(limits, width) {
  const axis = make("div", "axis");
  const length = limits.stop - limits.start;
  const step = TICKS.find((tick) => (width * tick) / length > 55) ?? 7200;
  for (let at = Math.ceil(limits.start / step); at * step <= limits.stop; at += 1) {
    const tick = make("span", "", `${+(at * step).toFixed(1)}`);
    tick.style.left = `${(100 * (at * step - limits.start)) / length}%`;
    axis.append(tick);
  }
  return axis;
}

// Fill anew what has been filled: another seed, another width.
function refill() {
  for (const card of cards) {
    if (!card.isFilled) continue;
    card.isFilled = false;
    fillCard(card);
  }
}

function timeAt(card, clientX) {
  const box = card.bars.querySelector(".track").getBoundingClientRect();
  const share = Math.min(1, Math.max(0, (clientX - box.left) / box.width));
  return card.limits.start + share * (card.limits.stop - card.limits.start);
}

// A click on a segment goes to its start; a drag, or a click beside one, to the very moment.
function listenToBars(card) {
  let startX = null;
  let hasMoved = false;
  card.bars.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || !event.target.closest(".track, .axis")) return;
    [startX, hasMoved] = [event.clientX, false];
    card.bars.setPointerCapture(event.pointerId);
    const segment = event.target.closest(".segment");
    player.open(card, segment ? Number(segment.dataset.start) : timeAt(card, event.clientX));
  });
  card.bars.addEventListener("pointermove", (event) => {
    if (startX === null) return;
    hasMoved ||= Math.abs(event.clientX - startX) > 3;
    if (hasMoved) player.seek(timeAt(card, event.clientX));
  });
  for (const name of ["pointerup", "pointercancel"]) {
    card.bars.addEventListener(name, () => {
      startX = null;
    });
  }
  card.bars.addEventListener("focus", () => {
    fillCard(card);
    if (player.card !== card) player.open(card, card.limits.start);
  });
}
