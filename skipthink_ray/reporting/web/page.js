// The charts, and the choice of a task. The charts of a task are drawn when it is shown for the first time.
"use strict";
const page = (() => {
  const specs = JSON.parse(document.getElementById("chart-data").textContent);
  const tabs = [...document.querySelectorAll(".tabs button")];
  const ofTask = [...document.querySelectorAll("main [data-task]")];
  const listeners = [];

  function draw() {
    for (const chart of document.querySelectorAll(".chart:empty")) {
      // Colours are variables of the style sheet, so a chart follows the theme without being drawn again.
      if (!chart.closest("[hidden]")) vegaEmbed(chart, specs[chart.id], { actions: false, renderer: "svg" });
    }
  }

  function choose(task) {
    for (const tab of tabs) tab.setAttribute("aria-pressed", String(tab.dataset.task === task));
    for (const node of ofTask) node.hidden = node.dataset.task !== task;
    draw();
    listeners.forEach((tell) => tell(task));
  }

  for (const tab of tabs) tab.addEventListener("click", () => choose(tab.dataset.task));
  if (tabs.length) choose(tabs[0].dataset.task);
  else draw();
  return { choose, onTask: (tell) => listeners.push(tell) };
})();
