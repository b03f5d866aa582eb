using System.Globalization;

namespace OrleansCluster.ApiServer;

/// <summary>Ages in kubectl's short form (wire contract, section 8).</summary>
internal static class Age
{
    /// <summary>Time since an RFC 3339 stamp; `&lt;unknown&gt;` without one.</summary>
    public static string Since(string? stamp, DateTimeOffset now) =>
        DateTimeOffset.TryParse(stamp, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal, out var then)
            ? Short(now - then)
            : "<unknown>";

    /// <summary>A duration with one or two units.</summary>
    public static string Short(TimeSpan age)
    {
        var seconds = (long)Math.Floor(age.TotalSeconds);
        return seconds switch
        {
            < -1 => "<invalid>",
            < 0 => "0s",
            < 120 => $"{seconds}s",
            < 600 => Two(seconds / 60, "m", seconds % 60, "s"),
            < 3 * 3600 => $"{seconds / 60}m",
            < 8 * 3600 => Two(seconds / 3600, "h", seconds / 60 % 60, "m"),
            < 48 * 3600 => $"{seconds / 3600}h",
            < 8 * 86_400 => Two(seconds / 86_400, "d", seconds / 3600 % 24, "h"),
            < 730L * 86_400 => $"{seconds / 86_400}d",
            < 8L * 365 * 86_400 => Two(seconds / 86_400 / 365, "y", seconds / 86_400 % 365, "d"),
            _ => $"{seconds / 86_400 / 365}y",
        };
    }

    private static string Two(long big, string bigUnit, long small, string smallUnit) =>
        small == 0 ? $"{big}{bigUnit}" : $"{big}{bigUnit}{small}{smallUnit}";
}
