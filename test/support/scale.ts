/**
 * `BERTH_TEST_SCALE` (0.1, 1, 3) shortens or lengthens the load tests; 1, the default, is the number that the
 * project promises.
 */
const scale = Number(process.env.BERTH_TEST_SCALE ?? "1");

export function scaled(count: number): number {
  if (!(scale > 0)) throw new Error(`BERTH_TEST_SCALE is ${process.env.BERTH_TEST_SCALE}, expected a number`);
  return Math.max(4, Math.round(count * scale));
}
