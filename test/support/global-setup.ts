export default function setup(): void {
  // The servers of the integration tests are started here.
}
