  // As `PixelText.encode` writes the centre of a pixel, so that the page needs no kernel.
  const bin = (i, length) => Math.floor((i + 0.5) / length * spec.scale);
  const about = i => Math.floor(i / spec.depth.step);
  const told = (column, row) => {
    const text = `(${bin(column, columns)}, ${bin(row, rows)})`;
    const depth = spec.depth && spec.depth.rows[about(row)][about(column)];
    return `pixel (column ${column}, row ${row}) &nbsp;→&nbsp; ` +
      `<b>${text}</b>, ${text.length} tokens` +
      (spec.depth ? `<br>measured depth about there: ` +
        (depth ? `<b>${depth.toFixed(2)} m</b>` : "unknown") : "");
  };
