// Sliders over trained generators: latents.js computes z, ONNX Runtime draws, one thread, nothing leaves this page.
import * as ort from "./ort/ort.wasm.min.mjs";
import slider from "./slider.js";
import { PATHS, along, between, latents, pushed } from "./latents.js";

ort.env.wasm.numThreads = 1; // more take headers that a plain server does not send
ort.env.wasm.wasmPaths = new URL("./ort/", import.meta.url).href;

const about = await (await fetch("explorer.json")).json();
const numbers = new Float32Array(await (await fetch("points.bin")).arrayBuffer());
const d = about.latent_size;
const points = Array.from({ length: numbers.length / d }, (_, row) => numbers.subarray(row * d, (row + 1) * d));
const pushes = points.splice(about.seeds); // behind the points of the seeds

const sessions = {};
const session = (name) => (sessions[name] ??= ort.InferenceSession.create(`generators/${name}.onnx`)
  .catch((error) => { delete sessions[name]; throw error; })); // the next move tries again

async function draw(run, z, canvas) {
  const feeds = { z: new ort.Tensor("float32", Float32Array.from(z), [1, d]) };
  const { images } = await (await session(run.name)).run(feeds);
  const [, , height, width] = images.dims, plane = height * width;
  const picture = new ImageData(width, height);
  for (let place = 0; place < plane; place++) {
    for (let colour = 0; colour < 3; colour++) picture.data[4 * place + colour] = images.data[colour * plane + place];
    picture.data[4 * place + 3] = 255;
  }
  [canvas.width, canvas.height] = [width, height];
  canvas.getContext("2d").putImageData(picture, 0, 0);
}

// --- controls: each has a value, and calls changed() when it moves ---------------------------------------------------

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function newSlider(panel, words, value, low, high, step) {
  const state = { value, low, high, step, description: words, disabled: false }, followers = {};
  const model = {
    get: (name) => state[name],
    set(name, given) { state[name] = given; followers[`change:${name}`]?.(); },
    on: (event, follower) => { followers[event] = follower; },
    save_changes: () => panel.changed(),
  };
  const el = element("div");
  slider.render({ model, el });
  panel.controls.append(el);
  return { get value() { return state.value; }, set value(given) { model.set("value", given); } };
}

function newSeed(panel, words, value) {
  const number = element("input", { type: "number", min: 0, max: about.seeds - 1, value });
  number.setAttribute("aria-label", words);
  const seed = { get value() { return Math.min(Math.max(Math.trunc(number.value) || 0, 0), about.seeds - 1); } };
  const go = (place) => { number.value = (place() + about.seeds) % about.seeds; panel.changed(); };
  const button = (label, place) => {
    const made = element("button", { type: "button", textContent: label, onclick: () => go(place) });
    made.setAttribute("aria-label", `${words}: ${label}`);
    return made;
  };
  number.addEventListener("input", panel.changed);
  panel.controls.append(element("div", { className: "row" }, element("span", { textContent: words }), number,
    button("previous", () => seed.value - 1), button("next", () => seed.value + 1),
    button("random", () => Math.floor(Math.random() * about.seeds))));
  return seed;
}

function newChoice(panel, words, options) {
  const choice = element("select", { onchange: () => panel.changed() });
  for (const [value, text] of options) choice.append(element("option", { value, textContent: text }));
  choice.setAttribute("aria-label", words);
  panel.controls.append(element("div", { className: "row" }, element("span", { textContent: words }), choice));
  return choice;
}

// A section of the page. show: () -> [[run, z, caption], ...], drawn in turn; moves that were overtaken are dropped.
function newPanel(id, build) {
  const section = document.getElementById(id);
  const panel = { controls: section.querySelector(".controls") };
  const pictures = section.querySelector(".pictures"), status = section.querySelector("[role=status]");
  let busy = false, waiting = false;
  panel.changed = async () => {
    if (busy) { waiting = true; return; }
    busy = true;
    do {
      waiting = false;
      try {
        const shown = show();
        while (pictures.children.length < shown.length)
          pictures.append(element("figure", {}, element("canvas"), element("figcaption")));
        for (const [place, [run, z, caption]] of shown.entries()) {
          const [canvas, words] = pictures.children[place].children;
          if (!sessions[run.name]) status.textContent = `loading ${run.title}`;
          await draw(run, z, canvas);
          words.textContent = caption;
          canvas.setAttribute("role", "img");
          canvas.setAttribute("aria-label", caption);
        }
        status.textContent = "";
      } catch (error) {
        status.textContent = `This browser could not draw (${error.message}).`;
      }
    } while (waiting);
    busy = false;
    section.dispatchEvent(new Event("drawn"));
  };
  const show = build(panel);
  return panel.changed();
}

// --- the three panels ------------------------------------------------------------------------------------------------

const runs = Object.fromEntries(about.generators.map((run) => [run.name, run]));
const titles = about.generators.map((run) => [run.name, run.title]);

await newPanel("priors", (panel) => {
  const first = newSeed(panel, "from seed", 1), second = newSeed(panel, "to seed", 2);
  const t = newSlider(panel, "t", 0, 0, 1, 0.01);
  const shares = pushes.map((_, place) => newSlider(panel, `push ${place + 1}`, 0, -1, 1, 0.02));
  return () => {
    const middle = between(points[first.value], points[second.value], t.value);
    const point = pushed(middle, pushes, shares.map((share) => share.value));
    return about.generators.filter((run) => run.compared).map((run) => [run, latents(run.curve, point), run.prior]);
  };
});

await newPanel("interpolation", (panel) => {
  const run = newChoice(panel, "generator", titles);
  const path = newChoice(panel, "path", Object.keys(PATHS).map((name) => [name, name]));
  const first = newSeed(panel, "from seed", 1), second = newSeed(panel, "to seed", 2);
  const t = newSlider(panel, "t", 0.5, 0, 1, 0.01);
  return () => {
    const ends = [points[first.value], points[second.value]], { curve } = runs[run.value];
    const shown = [0, t.value, 1].map((share) => PATHS[path.value](curve, ...ends, share));
    const captions = [`seed ${first.value}`, `t = ${t.value.toFixed(2)}`, `seed ${second.value}`];
    return shown.map((z, place) => [runs[run.value], z, captions[place]]);
  };
});

await newPanel("directions", (panel) => {
  const run = newChoice(panel, "generator", titles);
  const seed = newSeed(panel, "seed", 1);
  const steps = runs[run.value].directions.map((_, place) =>
    newSlider(panel, `direction ${place + 1}`, 0, -about.reach, about.reach, 0.1));
  const reset = () => { steps.forEach((step) => { step.value = 0; }); panel.changed(); };
  panel.controls.append(element("button", { type: "button", textContent: "back to the seed", onclick: reset }));
  return () => {
    const { curve, directions } = runs[run.value];
    const z = along(latents(curve, points[seed.value]), directions, steps.map((step) => step.value));
    return [[runs[run.value], z, `seed ${seed.value}`]];
  };
});

navigator.serviceWorker?.register("worker.js"); // the next visit needs no network
document.documentElement.dataset.ready = "yes";
