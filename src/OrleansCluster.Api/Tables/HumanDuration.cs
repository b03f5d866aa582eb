namespace OrleansCluster.Api;

/// <summary>Durations and ages as `kubectl get` shows them (wire contract, section 8).</summary>
public static class HumanDuration
{
    /// <summary>Short form: `5s`, `3m20s`, `2h`, `4d6h`, `1y20d`.</summary>
    public static string Format(TimeSpan duration)
    {
        // Up to a second of clock difference between machines is no age at all; more is nonsense that must be seen.
        if (duration < TimeSpan.FromSeconds(-1))
            return "<invalid>";
        if (duration < TimeSpan.Zero)
            return "0s";
        var seconds = (long)duration.TotalSeconds;
        if (seconds < 120)
            return $"{seconds}s";
        var minutes = seconds / 60;
        if (minutes < 10)
            return Join(minutes, "m", seconds % 60, "s");
        if (minutes < 180)
            return $"{minutes}m";
        var hours = minutes / 60;
        if (hours < 8)
            return Join(hours, "h", minutes % 60, "m");
        if (hours < 48)
            return $"{hours}h";
        var days = hours / 24;
        if (days < 8)
            return Join(days, "d", hours % 24, "h");
        if (days < 365 * 2)
            return $"{days}d";
        var years = days / 365;
        return years < 8 ? Join(years, "y", days % 365, "d") : $"{years}y";
    }

    /// <summary>Time passed since a time of the wire; `&lt;unknown&gt;` where there is none.</summary>
    public static string Age(string? since, DateTimeOffset now) => KubernetesTime.TryParse(since, out var time) ? Format(now - time) : "<unknown>";

    private static string Join(long big, string bigUnit, long small, string smallUnit) =>
        small == 0 ? $"{big}{bigUnit}" : $"{big}{bigUnit}{small}{smallUnit}";
}
