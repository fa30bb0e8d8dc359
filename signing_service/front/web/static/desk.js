// The sheet can be printed from its page; without scripts the browser's own menu does it.

const print = document.getElementById("print");
if (print) {
  print.hidden = false;
  print.addEventListener("click", () => window.print());
}
