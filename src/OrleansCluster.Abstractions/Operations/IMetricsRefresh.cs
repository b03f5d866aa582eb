namespace OrleansCluster.Operations;

/// <summary>
/// Brings figures up to date that must be asked for, before the metrics are collected: instruments are read without waiting. Register it as a singleton;
/// it is called at most once per scrape, so what is not scraped costs nothing.
/// </summary>
public interface IMetricsRefresh
{
    /// <summary>Asks. A failure leaves the last figures; it is logged by nobody and fails no scrape.</summary>
    ValueTask RefreshAsync(CancellationToken cancellationToken);
}
