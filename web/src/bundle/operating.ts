/** The decision rule: `cxr_edge.evaluation.operating`, described in docs/decision-rule.md. */

export const REFER = "refer to a radiologist";

export interface OperatingPoint {
  sensitive_class: string;
  suspected_from: number;
  called_from: number;
  schema: number;
  /** The rule in words. */
  description: string;
}

/** Of equal values, the first is the top one. */
export function topOf(probabilities: readonly number[]): number {
  return probabilities.reduce((top, value, index) => (value > probabilities[top] ? index : top), 0);
}

/** The class that is called, or `REFER`. */
export function decide(point: OperatingPoint, probabilities: readonly number[], labels: readonly string[]): string {
  const sensitive = labels.indexOf(point.sensitive_class);
  const suspected = probabilities[sensitive] >= point.suspected_from;
  const others = probabilities.map((value, index) => (index === sensitive ? -1 : value));
  const called = suspected ? sensitive : topOf(others);
  return probabilities[called] < point.called_from ? REFER : labels[called];
}
