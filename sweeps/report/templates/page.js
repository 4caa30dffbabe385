// What the page does beyond showing: it plays clips, sorts tables and filters claims.
"use strict";

// Clips: one picture holds the frames of a clip side by side, and is moved behind a window.
const FRAMES_PER_SECOND = 8;
const still = matchMedia("(prefers-reduced-motion: reduce)");

function player(example) {
  const [button, slider, output] = ["button", "input[type=range]", "output"].map(
    (name) => example.querySelector(name));
  const clips = [...example.querySelectorAll(".clips svg")];
  const last = Number(slider.max);

  function show(frame) {
    slider.value = frame;
    output.textContent = `frame ${frame + 1} of ${last + 1}`;
    for (const clip of clips) {
      clip.querySelector("image").setAttribute("x", -frame * clip.viewBox.baseVal.width);
      for (const spot of clip.querySelectorAll(".spot")) {
        const place = spot.dataset.places.split(" ")[frame].split(",");
        spot.setAttribute("visibility", place.length === 2 ? "visible" : "hidden");
        if (place.length === 2) {
          spot.setAttribute("cx", place[0]);
          spot.setAttribute("cy", place[1]);
        }
      }
    }
  }

  function play(on) {
    example.dataset.playing = on;
    button.textContent = on ? "Pause" : "Play";
  }

  button.addEventListener("click", () => play(example.dataset.playing !== "true"));
  slider.addEventListener("input", () => { play(false); show(Number(slider.value)); });
  show(0);
  play(!still.matches);
  return {
    play,
    step: () => {
      if (example.dataset.playing === "true") show((Number(slider.value) + 1) % (last + 1));
    },
  };
}

const section = document.getElementById("clips");
if (section) {
  const players = [...section.querySelectorAll(".example")].map(player);
  const all = (on) => players.forEach((one) => one.play(on));
  section.querySelector("#pause-all").addEventListener("click", () => all(false));
  section.querySelector("#play-all").addEventListener("click", () => all(true));
  section.querySelector("#tracks").addEventListener("change", (event) =>
    section.classList.toggle("hidden-tracks", !event.target.checked));
  section.querySelector("#minus").addEventListener("change", (event) =>
    section.classList.toggle("differences", event.target.checked));
  still.addEventListener("change", () => all(!still.matches));
  setInterval(() => players.forEach((one) => one.step()), 1000 / FRAMES_PER_SECOND);
}

// Tables: a column's head sorts by it, numbers by their value; a third click restores the order.
function sorts(table) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
  const order = [...body.rows];
  const value = (row, column) => {
    const text = row.cells[column].textContent.trim();
    const number = Number.parseFloat(text.replace("−", "-").replace("+", "").replace(/^</, ""));
    return Number.isNaN(number) ? text : number;
  };
  const compare = (a, b) => typeof a === typeof b ? (a < b ? -1 : a > b ? 1 : 0)
    : typeof a === "number" ? -1 : 1;

  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const next = {none: "descending", descending: "ascending", ascending: "none"}[
        head.ariaSort || "none"];
      heads.forEach((other) => { other.ariaSort = "none"; });
      head.ariaSort = next;
      const rows = [...order];
      const way = next === "ascending" ? 1 : -1;
      if (next !== "none") rows.sort((a, b) => way * compare(value(a, column), value(b, column)));
      body.append(...rows);
    });
  });
}
document.querySelectorAll("table.numbers").forEach(sorts);

// A link into what is folded opens it.
function unfold() {
  const target = document.getElementById(location.hash.slice(1));
  target?.querySelector(":scope > details")?.setAttribute("open", "");
  const box = target?.closest("details:not([open])");  // among the tables that are folded
  if (box) {
    box.open = true;
    target.scrollIntoView();
  }
}
addEventListener("hashchange", unfold);
unfold();

// Claims: a word, and the verdicts that are wanted.
const filter = document.querySelector(".filter");
if (filter) {
  const [field, output] = ["input", "output"].map((name) => filter.querySelector(name));
  const chips = [...filter.querySelectorAll("button")];
  const claims = [...document.querySelectorAll(".claim")];
  const show = () => {
    const wanted = chips.filter((chip) => chip.ariaPressed === "true").map((c) => c.dataset.kind);
    const word = field.value.toLowerCase();
    for (const claim of claims) {
      claim.hidden = !(wanted.includes(claim.dataset.kind)
        && claim.textContent.toLowerCase().includes(word));
    }
    output.textContent = `${claims.filter((claim) => !claim.hidden).length} of ${claims.length}`;
  };
  for (const chip of chips) {
    chip.addEventListener("click", () => {
      chip.ariaPressed = String(chip.ariaPressed !== "true");
      show();
    });
  }
  field.addEventListener("input", show);
  filter.hidden = false;
  show();
}
