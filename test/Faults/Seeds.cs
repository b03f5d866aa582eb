using System.Globalization;

namespace OrleansCluster.Faults;

/// <summary>Where a run's random decisions come from. FAULTS_SEED replays one.</summary>
internal static class Seeds
{
    public static int New() =>
        int.TryParse(Environment.GetEnvironmentVariable("FAULTS_SEED"), NumberStyles.Integer, CultureInfo.InvariantCulture, out var given)
            ? given
            : Random.Shared.Next(1_000_000);
}
