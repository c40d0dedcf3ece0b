"use strict";

const video = document.getElementById("video");
const playhead = document.getElementById("playhead");
const now = document.getElementById("now");
const rows = [...document.querySelectorAll("tbody tr")];
const segments = [...document.querySelectorAll(".segment")].map((group) => {
  const bar = group.querySelector("rect");
  const start = Number(bar.getAttribute("x"));
  return { start, stop: start + Number(bar.getAttribute("width")), text: group.querySelector("title").textContent };
});
let shown = null;

for (const element of document.querySelectorAll("[data-start]")) {
  element.addEventListener("click", () => {
    video.currentTime = Number(element.dataset.start);
  });
}

video.addEventListener("error", () => {
  document.getElementById("problem").hidden = false;
});

/* Move the playhead, and say which segment holds it. */
function draw() {
  const milliseconds = 1000 * video.currentTime;
  playhead.setAttribute("x1", milliseconds);
  playhead.setAttribute("x2", milliseconds);
  /* A seek ends on a frame, whose time may be a fraction of a millisecond before the segment. */
  const index = segments.findIndex(({ start, stop }) => start <= milliseconds + 0.5 && milliseconds + 0.5 < stop);
  if (index !== shown) {
    rows.forEach((row, number) => row.classList.toggle("now", number === index));
    now.textContent = index < 0 ? "\u00a0" : segments[index].text;
    shown = index;
  }
  requestAnimationFrame(draw);
}
draw();
