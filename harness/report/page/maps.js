// Maps of relevance: red above zero, blue below, white at zero, gray for what is no number.
const ZERO = 127, NOT_FINITE = 255;
function bytesOf(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}
function colour(share) {
  const strength = Math.min(1, Math.abs(share)), faded = Math.round(255 * (1 - strength));
  return share > 0 ? [255, faded, faded] : share < 0 ? [faded, faded, 255] : [255, 255, 255];
}
function css(share) {
  return "rgb(" + colour(share).join(",") + ")";
}
function shares(map, scale) {
  const ratio = scale > 0 ? map.largest / scale : 0;
  return [...bytesOf(map.bytes)].map((level) => (level === NOT_FINITE ? null : ((level - ZERO) / ZERO) * ratio));
}
function painted(rows, columns, pixel, label) {
  const canvas = element("canvas", { width: columns, height: rows, role: "img", "aria-label": label });
  const wide = Math.max(160, Math.min(300, columns * 4));
  canvas.style.width = wide + "px";
  canvas.style.aspectRatio = columns + " / " + rows;
  const context = canvas.getContext("2d"), image = context.createImageData(columns, rows);
  for (let place = 0; place < rows * columns; place++) image.data.set([...pixel(place), 255], 4 * place);
  context.putImageData(image, 0, 0);
  return canvas;
}
function mapPicture(map, scale, label, labels, input) {
  const found = shares(map, scale);
  if (map.shape.length === 1) return input.tokens && map.numbers ? tokens(found, map.numbers, input.tokens, label) : bars(found, label);
  const [rows, columns] = map.shape;
  if (labels[0] === "channel") return curves(found, rows, columns, input, label);
  return painted(rows, columns, (place) => (found[place] === null ? [128, 128, 128] : colour(found[place])), label);
}
function inputPicture(input, labels) {
  const levels = bytesOf(input.bytes);
  if (input.shape.length === 1) return input.tokens ? tokens(null, null, input.tokens, "input") : bars([...levels].map((level) => level / 255), "input");
  const [rows, columns] = input.shape, size = rows * columns;
  if (labels[0] === "channel") return curves(null, rows, columns, input, "input");
  return painted(rows, columns, (place) => (input.colour ? [levels[place], levels[size + place], levels[2 * size + place]] : [levels[place], levels[place], levels[place]]), "input");
}
// A series: its curve, a line a channel, each piece in the colour of its relevance.
function curves(found, channels, steps, input, label) {
  const width = 460, band = Math.max(46, Math.min(150, 300 / channels)), height = band * channels;
  const levels = bytesOf(input.bytes), steps0 = input.shape[1];
  const drawing = svg(width, height, label);
  drawing.append(shape("rect", { x: 0, y: 0, width, height, fill: "#fff" }));
  for (let channel = 0; channel < channels; channel++) {
    const at = (step) => {
      const place = Math.min(steps0 - 1, Math.round((step * (steps0 - 1)) / Math.max(1, steps - 1)));
      return [4 + (step * (width - 8)) / Math.max(1, steps - 1), band * (channel + 1) - 4 - (levels[channel * steps0 + place] / 255) * (band - 8)];
    };
    if (found !== null) for (let step = 0; step < steps; step++) {
      const share = found[channel * steps + step], piece = (width - 8) / steps;
      if (share !== 0) drawing.append(shape("rect", { x: at(step)[0] - piece / 2, y: band * channel, width: piece + 0.5, height: band, fill: share === null ? "#808080" : css(share) }));
    }
    const points = Array.from({ length: steps }, (_, step) => at(step).map((value) => value.toFixed(1)).join(","));
    drawing.append(shape("polyline", { points: points.join(" "), fill: "none", stroke: "#222", "stroke-width": 1 }));
  }
  return drawing;
}
function bars(found, label) {
  const width = 300, height = 150, drawing = svg(width, height, label), piece = width / found.length;
  drawing.append(shape("rect", { x: 0, y: 0, width, height, fill: "#fff" }), shape("line", { x1: 0, x2: width, y1: height / 2, y2: height / 2, stroke: "#999" }));
  found.forEach((share, place) => {
    const value = share === null ? 1 : Math.max(-1, Math.min(1, share)), tall = Math.abs(value) * (height / 2 - 4);
    drawing.append(shape("rect", { x: place * piece, width: Math.max(0.5, piece * 0.9), y: value > 0 ? height / 2 - tall : height / 2, height: tall, fill: share === null ? "#808080" : value > 0 ? "#f00" : "#00f" }));
  });
  return drawing;
}
// Tokens as text on the colour of their relevance; a title has the number. Names are text, whatever they hold.
function tokens(found, numbers, words, label) {
  return element("div", { class: "tokens", role: "group", "aria-label": label }, ...words.map((word, place) => {
    if (found === null) return element("span", { title: "token " + place }, word);
    const share = found[place], number = numbers[place];
    const chip = element("span", { title: word + ": " + (number === null ? "no number" : short(number)) }, word);
    chip.style.background = share === null ? "#808080" : css(share);
    if (share !== null && share < -0.6) chip.style.color = "#fff";
    return chip;
  }));
}
