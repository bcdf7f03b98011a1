  const told = (column, row) => spec.labels.map(
    (label, k) => `${label}: <b>${spec.rows[row][column][k]}</b>`).join("<br>");
