using System.Globalization;
using System.Text;

namespace OrleansCluster.Api;

/// <summary>The API's spelling of times and durations (RFC 3339, UTC; durations as Go prints them).</summary>
public static class KubernetesTime
{
    private const string SecondsFormat = "yyyy-MM-ddTHH:mm:ssZ";
    private const string MicrosecondsFormat = "yyyy-MM-ddTHH:mm:ss.ffffffZ";

    private static readonly (string Name, long Nanoseconds)[] Units =
    [
        ("ns", 1), ("us", 1_000), ("µs", 1_000), ("μs", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000), ("m", 60_000_000_000), ("h", 3_600_000_000_000),
    ];

    /// <summary>Writes a `Time`: whole seconds, UTC; a fraction is cut off.</summary>
    public static string Format(DateTimeOffset time) => time.UtcDateTime.ToString(SecondsFormat, CultureInfo.InvariantCulture);

    /// <summary>Writes a `MicroTime`: six fractional digits, UTC.</summary>
    public static string FormatMicro(DateTimeOffset time) => time.UtcDateTime.ToString(MicrosecondsFormat, CultureInfo.InvariantCulture);

    /// <summary>
    /// Parses an RFC 3339 time with any number of fractional digits and any offset. The calendar is checked; a leap second is refused.
    /// </summary>
    public static bool TryParse(string? text, out DateTimeOffset time)
    {
        time = default;
        // DateTimeOffset accepts more than RFC 3339 does, so the shape is checked first: dddd-dd-ddTdd:dd:dd[.d+](Z|+dd:dd).
        if (text is null || text.Length < 20 || text.Length > 64)
            return false;
        for (var i = 0; i < 19; i++)
        {
            var expected = "0000-00-00T00:00:00"[i];
            if (expected == '0' ? !char.IsAsciiDigit(text[i]) : text[i] != expected)
                return false;
        }
        var position = 19;
        if (text[position] == '.')
        {
            var start = ++position;
            while (position < text.Length && char.IsAsciiDigit(text[position]))
                position++;
            if (position == start)
                return false;
        }
        var fractionEnd = position;
        var zone = text.AsSpan(position);
        if (zone is not "Z" && !(zone.Length == 6 && zone[0] is '+' or '-' && zone[3] == ':'
            && char.IsAsciiDigit(zone[1]) && char.IsAsciiDigit(zone[2]) && char.IsAsciiDigit(zone[4]) && char.IsAsciiDigit(zone[5])))
        {
            return false;
        }
        // Beyond seven digits .NET would round; the API cuts off.
        var cut = Math.Min(fractionEnd, 19 + 8);
        var normal = string.Concat(text.AsSpan(0, cut), zone);
        return DateTimeOffset.TryParse(normal, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal | DateTimeStyles.AdjustToUniversal, out time);
    }

    /// <summary>The error text of a time that cannot be parsed.</summary>
    internal static string Explain(string text, bool micro)
    {
        var layout = micro ? "2006-01-02T15:04:05.000000Z07:00" : "2006-01-02T15:04:05Z07:00";
        return $"parsing time \"{text}\" as \"{layout}\": cannot parse \"{text}\" as \"2006\"";
    }

    /// <summary>True where the text is a `Time` in canonical form already.</summary>
    internal static bool IsCanonical(ReadOnlySpan<byte> text)
    {
        if (text.Length != 20 || text[19] != (byte)'Z')
            return false;
        var shape = "0000-00-00T00:00:00"u8;
        for (var i = 0; i < shape.Length; i++)
        {
            if (shape[i] == (byte)'0' ? !char.IsAsciiDigit((char)text[i]) : text[i] != shape[i])
                return false;
        }
        var year = Two(text, 0) * 100 + Two(text, 2);
        var month = Two(text, 5);
        return year > 0 && month is > 0 and <= 12 && Two(text, 8) is > 0 and var day && day <= DateTime.DaysInMonth(year, month)
            && Two(text, 11) < 24 && Two(text, 14) < 60 && Two(text, 17) < 60;

        static int Two(ReadOnlySpan<byte> text, int at) => ((text[at] - '0') * 10) + (text[at + 1] - '0');
    }

    /// <summary>Writes a duration as Go does: `1h0m0s`, `1.5s`, `20ms`, `0s`.</summary>
    public static string FormatDuration(long nanoseconds)
    {
        if (nanoseconds == 0)
            return "0s";
        var negative = nanoseconds < 0;
        var total = negative ? (UInt128)(-(Int128)nanoseconds) : (UInt128)nanoseconds;
        var text = new StringBuilder(24);
        if (negative)
            text.Append('-');
        if (total < 1_000_000_000)
        {
            var (unit, size) = total < 1_000 ? ("ns", 1ul) : total < 1_000_000 ? ("µs", 1_000ul) : ("ms", 1_000_000ul);
            AppendDecimal(text, (ulong)total, size);
            return text.Append(unit).ToString();
        }
        var nano = (ulong)total;
        var hours = nano / 3_600_000_000_000;
        var minutes = nano / 60_000_000_000 % 60;
        if (hours > 0)
            text.Append(CultureInfo.InvariantCulture, $"{hours}h");
        if (hours > 0 || minutes > 0)
            text.Append(CultureInfo.InvariantCulture, $"{minutes}m");
        AppendDecimal(text, nano % 60_000_000_000, 1_000_000_000);
        return text.Append('s').ToString();
    }

    /// <summary>Parses a duration in Go's spelling into nanoseconds; false for anything else, also for one past 64 bits.</summary>
    public static bool TryParseDuration(string? text, out long nanoseconds)
    {
        nanoseconds = 0;
        var rest = text.AsSpan();
        var negative = rest.Length > 0 && rest[0] == '-';
        if (rest.Length > 0 && rest[0] is '+' or '-')
            rest = rest[1..];
        if (rest is "0")
            return true;
        if (rest.Length is 0 or > 128)
            return false;
        decimal total = 0;
        while (rest.Length > 0)
        {
            var length = 0;
            while (length < rest.Length && (char.IsAsciiDigit(rest[length]) || rest[length] == '.'))
                length++;
            if (!decimal.TryParse(rest[..length], NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var amount) || amount > long.MaxValue)
                return false;
            rest = rest[length..];
            length = 0;
            while (length < rest.Length && !char.IsAsciiDigit(rest[length]) && rest[length] != '.')
                length++;
            long size = 0;
            foreach (var unit in Units)
            {
                if (rest[..length].SequenceEqual(unit.Name))
                    size = unit.Nanoseconds;
            }
            if (size == 0)
                return false;
            total += decimal.Truncate(amount * size);
            if (total > long.MaxValue)
                return false;
            rest = rest[length..];
        }
        nanoseconds = negative ? -(long)total : (long)total;
        return true;
    }

    private static void AppendDecimal(StringBuilder text, ulong amount, ulong unit)
    {
        text.Append(CultureInfo.InvariantCulture, $"{amount / unit}");
        var fraction = amount % unit;
        if (fraction == 0)
            return;
        text.Append('.');
        for (var size = unit / 10; fraction > 0; size /= 10)
        {
            text.Append((char)('0' + (fraction / size)));
            fraction %= size;
        }
    }
}
