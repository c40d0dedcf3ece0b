"use strict";
// What all parts share: the data, and elements. Names from data are only ever set as text.

const report = JSON.parse(document.getElementById("data").textContent);

function find(id) {
  return document.getElementById(id);
}

function make(tag, className = "", text = "") {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text) element.textContent = text;
  return element;
}

function choose(select, names, chosen = 0) {
  select.replaceChildren(
    ...names.map((name, index) => {
      const option = make("option", "", name);
      option.value = String(index);
      return option;
    }),
  );
  select.value = String(chosen);
}

function swatch(classId) {
  const element = make("span", "swatch");
  element.style.background = report.classes[classId].color;
  return element;
}

// Whether white or black text is easier to read on a colour (WCAG's relative luminance).
function isDark(color) {
  const [red, green, blue] = [1, 3, 5].map((at) => {
    const part = parseInt(color.slice(at, at + 2), 16) / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.18;
}

function seconds(time) {
  return `${time.toFixed(1)} s`;
}

function percent(value) {
  return value === null ? "–" : value.toFixed(1);
}
