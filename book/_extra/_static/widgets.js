// Pages with widgets load this between require.js and the widget manager, which expects its fonts where require.js
// looks, and MathJax 2; the book vendors the fonts and has MathJax 3.
requirejs.config({ baseUrl: new URL("vendor/", document.currentScript.src).href });
document.addEventListener("DOMContentLoaded", () => {
  if (window.MathJax?.startup) MathJax.Hub = { Queue: ([, , element]) => MathJax.typesetPromise([element]) };
});
