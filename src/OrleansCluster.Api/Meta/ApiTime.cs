using System.Globalization;

namespace OrleansCluster.Api;

/// <summary>The two time formats of the wire (wire contract, section 2), both in UTC.</summary>
public static class ApiTime
{
    /// <summary>`Time`: whole seconds, e.g. `2026-01-02T15:04:05Z`.</summary>
    public static string Format(DateTimeOffset time) => time.UtcDateTime.ToString("yyyy-MM-ddTHH:mm:ssZ", CultureInfo.InvariantCulture);

    /// <summary>`MicroTime`: always six digits, e.g. `2026-01-02T15:04:05.000000Z`.</summary>
    public static string FormatMicro(DateTimeOffset time) => time.UtcDateTime.ToString("yyyy-MM-ddTHH:mm:ss.ffffffZ", CultureInfo.InvariantCulture);

    /// <summary>Reads either format, and any other RFC 3339 time.</summary>
    public static DateTimeOffset? Parse(string? text) =>
        text is not null && DateTimeOffset.TryParse(text, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal, out var time) ? time : null;
}
