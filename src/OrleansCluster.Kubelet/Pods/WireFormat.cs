using System.Globalization;
using System.Text;

namespace OrleansCluster.Kubelet.Pods;

/// <summary>How times and durations are written for Kubernetes clients.</summary>
internal static class WireFormat
{
    /// <summary>RFC 3339 in UTC with whole seconds, as metadata and status times are.</summary>
    public static string Time(DateTimeOffset time) => time.UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss'Z'", CultureInfo.InvariantCulture);

    /// <summary>RFC 3339 in UTC with microseconds, as Lease and Event times are.</summary>
    public static string MicroTime(DateTimeOffset time) => time.UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss.ffffff'Z'", CultureInfo.InvariantCulture);

    /// <summary>`10s`, `1m20s`, `1h0m5s`, `350ms`: the notation of the texts that users know.</summary>
    public static string Duration(TimeSpan duration)
    {
        if (duration < TimeSpan.FromSeconds(1))
            return string.Create(CultureInfo.InvariantCulture, $"{Math.Max(0, (long)duration.TotalMilliseconds)}ms");
        var text = new StringBuilder();
        var hours = (long)duration.TotalHours;
        if (hours > 0)
            text.Append(CultureInfo.InvariantCulture, $"{hours}h");
        if (hours > 0 || duration.Minutes > 0)
            text.Append(CultureInfo.InvariantCulture, $"{duration.Minutes}m");
        text.Append(CultureInfo.InvariantCulture, $"{duration.Seconds}");
        if (duration.Milliseconds > 0)
            text.Append('.').Append(duration.Milliseconds.ToString("D3", CultureInfo.InvariantCulture).TrimEnd('0'));
        return text.Append('s').ToString();
    }
}
