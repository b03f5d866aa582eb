using System.Diagnostics.CodeAnalysis;
using System.Globalization;

namespace OrleansCluster.Api;

/// <summary>Which family of suffixes a quantity is written with. It survives parsing and arithmetic.</summary>
public enum QuantityFormat : byte
{
    /// <summary>Powers of ten by letter: n u m (none) k M G T P E.</summary>
    DecimalSI,

    /// <summary>Powers of 1024: Ki Mi Gi Ti Pi Ei.</summary>
    BinarySI,

    /// <summary>Powers of ten as an exponent: `12e6`.</summary>
    DecimalExponent,
}

/// <summary>
/// An exact amount of a resource. Held as a whole number of nano-units, which covers what the API allows: magnitudes up to 2^63-1, nine
/// decimal places; more precise input is rounded away from zero, greater input is cut to the limit. The canonical form has no fraction, the
/// greatest suffix that leaves a whole number, and keeps its family of suffixes.
/// </summary>
public readonly struct Quantity : IEquatable<Quantity>, IComparable<Quantity>
{
    internal const string FormatError = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
    private const string SuffixError = "unable to parse quantity's suffix";
    private const long NanoPerUnit = 1_000_000_000;

    private static readonly Int128 MaxNano = (Int128)long.MaxValue * NanoPerUnit;
    private static readonly string[] DecimalSuffixes = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
    private static readonly string[] BinarySuffixes = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

    private readonly Int128 _nano;

    private Quantity(Int128 nano, QuantityFormat format)
    {
        _nano = nano;
        Format = format;
    }

    /// <summary>Zero.</summary>
    public static Quantity Zero => default;

    /// <summary>Family of suffixes.</summary>
    public QuantityFormat Format { get; }

    /// <summary>True for zero.</summary>
    public bool IsZero => _nano == 0;

    /// <summary>-1, 0 or 1.</summary>
    public int Sign => Int128.Sign(_nano);

    /// <summary>The amount in whole units, rounded away from zero, cut to 64 bits.</summary>
    public long Value => Scaled(NanoPerUnit);

    /// <summary>The amount in thousandths, rounded away from zero, cut to 64 bits.</summary>
    public long MilliValue => Scaled(NanoPerUnit / 1000);

    /// <summary>Makes a quantity of whole units.</summary>
    public static Quantity FromValue(long value, QuantityFormat format = QuantityFormat.DecimalSI) => new((Int128)value * NanoPerUnit, format);

    /// <summary>Makes a quantity of thousandths.</summary>
    public static Quantity FromMilli(long milli, QuantityFormat format = QuantityFormat.DecimalSI) => new((Int128)milli * (NanoPerUnit / 1000), format);

    /// <summary>Parses a quantity.</summary>
    /// <exception cref="FormatException">The text is not a quantity.</exception>
    public static Quantity Parse(string text) =>
        TryParse(text, out var quantity, out var error) ? quantity : throw new FormatException(error);

    /// <summary>Parses a quantity; false if the text is not one.</summary>
    public static bool TryParse([NotNullWhen(true)] string? text, out Quantity quantity) => TryParse(text, out quantity, out _);

    /// <summary>Parses a quantity; false with the API's error text if the text is not one.</summary>
    public static bool TryParse(ReadOnlySpan<char> text, out Quantity quantity, [NotNullWhen(false)] out string? error)
    {
        quantity = default;
        error = FormatError;
        var position = 0;
        var negative = false;
        if (text.Length > 0 && text[0] is '+' or '-')
        {
            negative = text[0] == '-';
            position = 1;
        }
        // 1. The number: digits with at most one point. Up to 36 significant digits are exact, the rest only rounds up.
        Int128 mantissa = 0;
        int digits = 0, scale = 0;
        bool point = false, inexact = false;
        for (; position < text.Length; position++)
        {
            var c = text[position];
            if (c == '.' && !point)
            {
                point = true;
                continue;
            }
            if (c is < '0' or > '9')
                break;
            digits++;
            if (mantissa > Int128.MaxValue / 100)
            {
                inexact |= c != '0';
                scale += point ? 0 : 1;
                continue;
            }
            mantissa = (mantissa * 10) + (c - '0');
            scale -= point ? 1 : 0;
        }
        if (digits == 0)
            return false;

        // 2. The suffix.
        if (!TryParseSuffix(text[position..], out var format, out var exponent))
        {
            error = SuffixIsPlausible(text[position..]) ? SuffixError : FormatError;
            return false;
        }

        // 3. To nano-units, rounding away from zero, cut to the limit.
        error = null;
        var nano = format == QuantityFormat.BinarySI
            ? Shift(Shift10(mantissa, scale + 9, ref inexact), exponent)
            : Shift10(mantissa, scale + exponent + 9, ref inexact);
        if (inexact && nano < MaxNano)
            nano++;
        if (nano > MaxNano)
            nano = MaxNano;
        if (format == QuantityFormat.BinarySI && nano > 0 && nano < NanoPerUnit)
            format = QuantityFormat.DecimalSI;
        quantity = new Quantity(negative ? -nano : nano, format);
        return true;
    }

    /// <summary>
    /// True where the text is in canonical form already, judged cheaply: digits without a leading zero, a known suffix, and no shorter form.
    /// False only means that the text has to be parsed.
    /// </summary>
    internal static bool IsCanonical(ReadOnlySpan<byte> text)
    {
        var digits = 0;
        long mantissa = 0;
        while (digits < text.Length && digits < 18 && text[digits] is >= (byte)'0' and <= (byte)'9')
            mantissa = (mantissa * 10) + (text[digits++] - '0');
        if (digits is 0 or 18 || (text[0] == (byte)'0' && text.Length > 1))
            return false;
        var suffix = text[digits..];
        return suffix.Length switch
        {
            0 => mantissa == 0 || mantissa % 1000 != 0,
            1 => suffix[0] is (byte)'m' or (byte)'k' or (byte)'M' or (byte)'G' && mantissa % 1000 != 0 && digits < 10,
            2 => suffix[1] == (byte)'i' && suffix[0] is (byte)'K' or (byte)'M' or (byte)'G' && mantissa % 1024 != 0 && digits < 10,
            _ => false,
        };
    }

    /// <summary>Canonical form.</summary>
    public override string ToString()
    {
        if (_nano == 0)
            return "0";
        var negative = _nano < 0;
        var amount = negative ? -_nano : _nano;
        var format = Format;
        // A binary quantity below 1Ki would need rounding or look odd; the API writes it in decimal. So is one that is no multiple of 1Ki, for
        // without a suffix it would be read back as a decimal one.
        if (format == QuantityFormat.BinarySI && amount < (Int128)1024 * NanoPerUnit)
        {
            format = QuantityFormat.DecimalSI;
        }
        else if (format == QuantityFormat.BinarySI)
        {
            amount = DivideUp(amount, NanoPerUnit);
            if (amount % 1024 != 0)
            {
                format = QuantityFormat.DecimalSI;
                amount *= NanoPerUnit;
            }
        }
        string suffix;
        if (format == QuantityFormat.BinarySI)
        {
            var step = 0;
            while (step < BinarySuffixes.Length - 1 && amount % 1024 == 0)
            {
                amount /= 1024;
                step++;
            }
            suffix = BinarySuffixes[step];
        }
        else
        {
            var step = 0;
            while (step < DecimalSuffixes.Length - 1 && amount % 1000 == 0)
            {
                amount /= 1000;
                step++;
            }
            var exponent = (step - 3) * 3;
            suffix = format == QuantityFormat.DecimalSI ? DecimalSuffixes[step]
                : exponent == 0 ? "" : string.Create(CultureInfo.InvariantCulture, $"e{exponent}");
        }
        return string.Create(CultureInfo.InvariantCulture, $"{(negative ? "-" : "")}{amount}{suffix}");
    }

    /// <summary>Sum; keeps the left side's family of suffixes unless the left side is zero. Cut to the limit.</summary>
    public static Quantity operator +(Quantity left, Quantity right) =>
        new(Clamp(left._nano + right._nano), left.IsZero ? right.Format : left.Format);

    /// <summary>Difference; keeps the left side's family of suffixes unless the left side is zero. Cut to the limit.</summary>
    public static Quantity operator -(Quantity left, Quantity right) =>
        new(Clamp(left._nano - right._nano), left.IsZero ? right.Format : left.Format);

    /// <summary>Negation.</summary>
    public static Quantity operator -(Quantity value) => new(-value._nano, value.Format);

    /// <summary>Compares amounts; the suffixes do not matter.</summary>
    public static bool operator <(Quantity left, Quantity right) => left._nano < right._nano;

    /// <summary>Compares amounts; the suffixes do not matter.</summary>
    public static bool operator >(Quantity left, Quantity right) => left._nano > right._nano;

    /// <summary>Compares amounts; the suffixes do not matter.</summary>
    public static bool operator <=(Quantity left, Quantity right) => left._nano <= right._nano;

    /// <summary>Compares amounts; the suffixes do not matter.</summary>
    public static bool operator >=(Quantity left, Quantity right) => left._nano >= right._nano;

    /// <summary>True where the amounts are equal; the suffixes do not matter.</summary>
    public static bool operator ==(Quantity left, Quantity right) => left._nano == right._nano;

    /// <summary>True where the amounts differ.</summary>
    public static bool operator !=(Quantity left, Quantity right) => left._nano != right._nano;

    /// <summary>Sum, as a method.</summary>
    public Quantity Add(Quantity other) => this + other;

    /// <summary>Difference, as a method.</summary>
    public Quantity Subtract(Quantity other) => this - other;

    /// <inheritdoc/>
    public int CompareTo(Quantity other) => _nano.CompareTo(other._nano);

    /// <inheritdoc/>
    public bool Equals(Quantity other) => _nano == other._nano;

    /// <inheritdoc/>
    public override bool Equals(object? obj) => obj is Quantity other && Equals(other);

    /// <inheritdoc/>
    public override int GetHashCode() => _nano.GetHashCode();

    private static bool TryParseSuffix(ReadOnlySpan<char> suffix, out QuantityFormat format, out int exponent)
    {
        format = QuantityFormat.DecimalSI;
        exponent = 0;
        if (suffix.Length == 0)
            return true;
        var family = suffix.Length == 2 && suffix[1] == 'i' ? BinarySuffixes : DecimalSuffixes;
        for (var i = 0; i < family.Length; i++)
        {
            if (suffix.SequenceEqual(family[i]))
            {
                format = family == BinarySuffixes ? QuantityFormat.BinarySI : QuantityFormat.DecimalSI;
                exponent = family == BinarySuffixes ? i * 10 : (i - 3) * 3;
                return true;
            }
        }
        if (suffix.Length > 1 && suffix[0] is 'e' or 'E')
        {
            format = QuantityFormat.DecimalExponent;
            return int.TryParse(suffix[1..], NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out exponent) && Math.Abs((long)exponent) < 100_000;
        }
        return false;
    }

    /// <summary>True where the suffix at least matches the grammar's alphabet, so that only its meaning is unknown.</summary>
    private static bool SuffixIsPlausible(ReadOnlySpan<char> suffix)
    {
        suffix = suffix.TrimStart("eEinumkKMGTP");
        if (suffix.Length > 0 && suffix[0] is '+' or '-')
            suffix = suffix[1..];
        return suffix.TrimStart("0123456789").Length == 0;
    }

    /// <summary>Multiplies by a power of ten, or divides by one and notes whether something was lost. Saturates above the limit.</summary>
    private static Int128 Shift10(Int128 value, int power, ref bool inexact)
    {
        if (value == 0)
            return 0;
        for (; power > 0; power--)
        {
            if (value > MaxNano)
                return MaxNano + 1;
            value *= 10;
        }
        for (; power < 0 && value > 0; power++)
        {
            inexact |= value % 10 != 0;
            value /= 10;
        }
        return value;
    }

    private static Int128 Shift(Int128 value, int bits)
    {
        for (; bits > 0; bits -= 10)
        {
            if (value > MaxNano)
                return MaxNano + 1;
            value *= 1024;
        }
        return value;
    }

    private static Int128 Clamp(Int128 nano) => nano > MaxNano ? MaxNano : nano < -MaxNano ? -MaxNano : nano;

    private static Int128 DivideUp(Int128 amount, long divisor) => (amount + divisor - 1) / divisor;

    private long Scaled(long divisor)
    {
        var amount = _nano < 0 ? -DivideUp(-_nano, divisor) : DivideUp(_nano, divisor);
        return amount > long.MaxValue ? long.MaxValue : amount < long.MinValue ? long.MinValue : (long)amount;
    }
}
