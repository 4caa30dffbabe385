// Plays the clips: a clip is one picture that holds its frames side by side, moved behind a window.
"use strict";
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
  still.addEventListener("change", () => all(!still.matches));
  setInterval(() => players.forEach((one) => one.step()), 1000 / FRAMES_PER_SECOND);
}
