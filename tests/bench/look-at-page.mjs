/** What can be seen of the report's page. Runs in a browser, as text put into another page: see report-page.test.ts. */
export default (frame) => {
  const { document } = frame;
  const pictures = [...document.querySelectorAll("figure svg")].filter(
    (svg) => svg.getBoundingClientRect().width > 0,
  );
  return {
    innerWidth: frame.innerWidth,
    scrollWidth: document.documentElement.scrollWidth,
    background: frame.getComputedStyle(document.body).backgroundColor,
    pictures: pictures.map((svg) => {
      const box = svg.getBoundingClientRect();
      const texts = [...svg.querySelectorAll("text")].filter((text) => text.textContent !== "");
      const outside = texts.filter((text) => {
        const { left, right } = text.getBoundingClientRect();
        return left < box.left - 1 || right > box.right + 1;
      });
      return {
        width: box.width,
        height: box.height,
        texts: texts.length,
        outside: outside.map((text) => text.textContent),
        colors: [...new Set(texts.map((text) => frame.getComputedStyle(text).fill))],
      };
    }),
  };
};
