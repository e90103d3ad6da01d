const slider = document.querySelector("#view");
if (slider) {
  const button = document.querySelector("#play"), angle = document.querySelector("#angle");
  const frames = Number(slider.max) + 1, pause = 3600 / frames;
  let timer = 0;
  const turn = (view) => {
    slider.value = (view + frames) % frames;
    document.documentElement.style.setProperty("--view", slider.value);
    angle.textContent = `${Math.round(slider.value * 360 / frames)}°`;
  };
  const play = (on) => {
    clearInterval(timer);
    timer = on ? setInterval(() => turn(Number(slider.value) + 1), pause) : 0;
    button.textContent = on ? "Stop" : "Turn";
  };
  slider.addEventListener("input", () => { play(false); turn(Number(slider.value)); });
  button.addEventListener("click", () => play(!timer));
  document.addEventListener("pointermove", (event) => {
    if (event.buttons && event.target.matches(".turntable") && event.movementX) {
      play(false);
      turn(Number(slider.value) - Math.sign(event.movementX));
    }
  });
  play(!matchMedia("(prefers-reduced-motion: reduce)").matches);
}
