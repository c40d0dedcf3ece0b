// Scores of each class, and what was taken for what.

const NUM_CONFUSIONS = 5;
const MATRIX_PIXELS = 430;

// Classes that are labelled, or predicted by either method; those with most frames of the first one's truth first.
function classOrder(counts, beside) {
  const frames = report.classes.map(() => 0);
  for (let at = 0; at < counts.confusion.length; at += 3) frames[counts.confusion[at]] += counts.confusion[at + 2];
  const seen = new Set([counts, beside].flatMap(({ confusion }) => confusion.filter((_, at) => at % 3 < 2)));
  const order = report.classes.map((_, classId) => classId).filter((classId) => seen.has(classId));
  order.sort((a, b) => frames[b] - frames[a] || a - b);
  return { order, frames, numFrames: frames.reduce((sum, each) => sum + each, 0) };
}

function showClasses() {
  const [method, other] = [Number(find("method").value), Number(find("other").value)];
  const { order, frames, numFrames } = classOrder(report.counts[method], report.counts[other]);
  const table = find("by-class");
  const head = make("tr");
  ["class", "frames", "segments", "recall", "precision", "F1@25"].forEach((text, index) => {
    const cell = make("th", index === 1 || index === 2 ? "number" : "", text);
    cell.scope = "col";
    head.append(cell);
  });
  const body = make("tbody");
  for (const classId of order) {
    const row = make("tr");
    const name = make("th");
    name.scope = "row";
    name.append(swatch(classId), report.classes[classId].name);
    const numSeeds = report.rows[method].seeds.length;
    row.append(
      name,
      make("td", "number", `${((100 * frames[classId]) / (numFrames || 1)).toFixed(1)} %`),
      make("td", "number", String(report.counts[method].segments[classId] / numSeeds)),
      ...["recall", "precision", "f1"].map((key) =>
        meterCell(report.counts[method][key][classId], other === method ? null : report.counts[other][key][classId]),
      ),
    );
    body.append(row);
  }
  const thead = make("thead");
  thead.append(head);
  table.replaceChildren(thead, body);
  const shown = other === method ? [method] : [method, other];
  find("matrices").replaceChildren(...shown.map((row) => makeMatrix(row, order)));
}

function meterCell(value, beside) {
  const cell = make("td");
  const metered = make("div", "metered");
  const meter = make("div", "meter");
  if (value !== null) {
    const bar = make("i");
    bar.style.width = `${value}%`;
    meter.append(bar);
  }
  if (beside !== null) {
    const tick = make("b");
    tick.style.left = `${beside}%`;
    meter.append(tick);
    cell.title = `beside: ${percent(beside)}`;
  }
  metered.append(make("span", "", percent(value)), meter);
  cell.append(metered);
  return cell;
}

// Shares of each true class by predicted class, in an order that holds all of them; the last column is no prediction.
function sharesOf(counts, order) {
  const place = new Map(order.map((classId, index) => [classId, index]));
  place.set(report.classes.length, order.length);
  const frames = order.map(() => new Array(order.length + 1).fill(0));
  for (let at = 0; at < counts.confusion.length; at += 3) {
    const [truth, seen, number] = counts.confusion.slice(at, at + 3);
    frames[place.get(truth)][place.get(seen)] = number;
  }
  return frames.map((row) => {
    const sum = row.reduce((total, each) => total + each, 0);
    return row.map((number) => ({ number, share: sum ? number / sum : null }));
  });
}

function makeMatrix(method, order) {
  const name = (at) => (at < order.length ? report.classes[order[at]].name : "no prediction");
  const shares = sharesOf(report.counts[method], order);
  const told = (row, column) => {
    const { share, number } = shares[row][column];
    if (share === null) return `${name(row)}: not labelled`;
    return `${name(row)} → ${name(column)}: ${(100 * share).toFixed(1)} % (${number} frames)`;
  };
  const figure = make("figure");
  const canvas = make("canvas");
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `Confusion matrix of ${report.rows[method].name}; the largest confusions are listed below it`);
  const cell = Math.max(3, Math.min(34, Math.floor(MATRIX_PIXELS / (order.length + 1))));
  drawMatrix(canvas, shares, order, cell);
  const readout = make("p", "readout dim", "Point at a cell to read it.");
  canvas.addEventListener("pointermove", (event) => {
    const [column, row] = [event.offsetX, event.offsetY].map((at) => Math.floor(at / cell) - 1);
    if (row >= 0 && column >= 0 && row < order.length && column <= order.length) readout.textContent = told(row, column);
  });
  const largest = shares
    .flatMap((row, at) => row.map((each, column) => ({ ...each, at, column })))
    .filter((each) => each.at !== each.column && each.number > 0)
    .sort((a, b) => b.number - a.number)
    .slice(0, NUM_CONFUSIONS);
  const list = make("ol");
  largest.forEach((each) => list.append(make("li", "", told(each.at, each.column))));
  readout.classList.add("by-hand");
  figure.append(make("figcaption", "", report.rows[method].name), canvas, readout, "The largest confusions:", list);
  return figure;
}

// Cells of `cell` pixels; the first row and the first column are the classes' colours.
function drawMatrix(canvas, shares, order, cell) {
  const [width, height] = [(order.length + 2) * cell, (order.length + 1) * cell];
  const sharpness = Math.max(1, window.devicePixelRatio);
  [canvas.width, canvas.height] = [width * sharpness, height * sharpness];
  [canvas.style.width, canvas.style.height] = [`${width}px`, `${height}px`];
  const draw = canvas.getContext("2d");
  draw.scale(sharpness, sharpness);
  const style = getComputedStyle(document.documentElement);
  const gap = cell > 8 ? 1 : 0;
  const fill = (column, row, color) => {
    draw.fillStyle = color;
    draw.fillRect(column * cell, row * cell, cell - gap, cell - gap);
  };
  order.forEach((classId, at) => {
    fill(at + 1, 0, report.classes[classId].color);
    fill(0, at + 1, report.classes[classId].color);
  });
  draw.font = "10px system-ui, sans-serif";
  draw.textAlign = "center";
  draw.textBaseline = "middle";
  shares.forEach((row, at) =>
    row.forEach(({ share }, column) => {
      fill(column + 1, at + 1, style.getPropertyValue("--sunken"));
      if (!share) return;
      fill(column + 1, at + 1, `rgba(${style.getPropertyValue("--heat")}, ${0.08 + 0.92 * share})`);
      if (cell < 24 || share < 0.005) return;
      draw.fillStyle = share > 0.5 ? style.getPropertyValue("--paper") : style.getPropertyValue("--ink");
      draw.fillText(String(Math.round(100 * share)), (column + 1.5) * cell, (at + 1.5) * cell);
    }),
  );
}
