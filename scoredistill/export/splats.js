for (const canvas of document.querySelectorAll("canvas.splats")) {
  if (!canvas.getContext("webgl2", { antialias: false })) {
    canvas.replaceWith("The splats are not shown: this browser has no WebGL 2.");
    continue;
  }
  const view = JSON.parse(canvas.dataset.view);
  const rows = Uint8Array.from(atob(canvas.dataset.splats), (letter) => letter.charCodeAt(0));
  const scene = new SPLAT.Scene(), camera = new SPLAT.Camera();
  scene.addObject(new SPLAT.Splat(SPLAT.SplatData.Deserialize(rows)));
  const renderer = new SPLAT.WebGLRenderer(canvas, []), { gl } = renderer;
  renderer.backgroundColor = new SPLAT.Color32(...view.background);
  const controls = new SPLAT.OrbitControls(camera, canvas, Math.PI + view.azimuth, view.elevation, view.radius, false);
  const resize = () => {
    const sides = [canvas.clientWidth, canvas.clientHeight].map((side) => Math.round(side * devicePixelRatio));
    const focal = 0.5 * Math.min(...sides) / Math.tan(0.5 * view.fov);
    camera.data.fx = camera.data.fy = focal;
    renderer.setSize(...sides);
    gl.uniform2f(gl.getUniformLocation(renderer.renderProgram.program, "focal"), focal, focal); // not set by setSize
  };
  let visible = true;
  const draw = () => {
    controls.update();
    if (visible) renderer.render(scene, camera);
    requestAnimationFrame(draw);
  };
  new IntersectionObserver(([entry]) => { visible = entry.isIntersecting; }).observe(canvas);
  new ResizeObserver(resize).observe(canvas);
  resize();
  draw();
}
