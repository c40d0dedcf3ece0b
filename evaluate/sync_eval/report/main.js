// Puts the page together and listens to its controls.

function orders() {
  const byEdit = report.rows.map((row, index) => ({
    name: `edit of ${row.name}, worst first`,
    key: (card) => card.recording.scores[index]?.[seedIndex(row)]?.[0] ?? Infinity,
  }));
  return [{ name: "as in the split", key: (card) => card.index }, ...byEdit];
}

function arrange() {
  const order = orders()[Number(find("order").value)];
  const words = find("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const sorted = [...cards].sort((a, b) => order.key(a) - order.key(b) || a.index - b.index);
  for (const card of sorted) {
    const text = `${card.recording.name} ${card.recording.procedure ?? ""}`.toLowerCase();
    card.element.hidden = !words.every((word) => text.includes(word));
  }
  find("list").replaceChildren(...sorted.map((card) => card.element));
  const numShown = cards.filter((card) => !card.element.hidden).length;
  find("shown").textContent = `${numShown} of ${cards.length}`;
}

function start() {
  const seeds = [...new Set(report.rows.flatMap((row) => row.seeds))].sort((a, b) => a - b);
  seedShown = seeds[0];
  choose(find("seed"), seeds.map(String));
  find("seed-label").hidden = seeds.length < 2;
  choose(find("order"), orders().map((order) => order.name));
  const names = report.rows.map((row) => row.name);
  const ego = report.rows.map((row, index) => (row.kind === "ego" ? index : -1)).filter((index) => index >= 0);
  choose(find("method"), names, ego.at(-1) ?? 0);
  choose(find("other"), names, ego[0] ?? 0);
  find("legend").append(
    ...report.classes.map((each, classId) => {
      const item = make("li");
      item.append(swatch(classId), each.name);
      return item;
    }),
  );
  cards.push(...report.recordings.map(makeCard));
  cards.forEach(listenToBars);
  cards.forEach((card) => sight.observe(card.element));
  player.listen();
  arrange();
  showClasses();
  if (cards.length) player.open(cards[0], cards[0].limits.start);
  find("order").addEventListener("change", arrange);
  find("filter").addEventListener("input", arrange);
  find("method").addEventListener("change", showClasses);
  find("other").addEventListener("change", showClasses);
  find("seed").addEventListener("change", () => {
    seedShown = seeds[Number(find("seed").value)];
    refill();
    arrange();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", showClasses);
  let frame = 0;
  window.addEventListener("resize", () => {
    cancelAnimationFrame(frame);
    frame = requestAnimationFrame(refill);
  });
  window.addEventListener("beforeprint", () => cards.forEach(fillCard));
}

start();
