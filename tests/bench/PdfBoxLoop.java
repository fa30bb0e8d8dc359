import com.sun.management.OperatingSystemMXBean;
import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.lang.management.ManagementFactory;
import java.math.BigInteger;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyPair;
import java.security.KeyPairGenerator;
import java.security.KeyStore;
import java.security.MessageDigest;
import java.security.Provider;
import java.security.Security;
import java.security.cert.X509Certificate;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Calendar;
import java.util.Date;
import java.util.Hashtable;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.apache.pdfbox.io.IOUtils;
import org.apache.pdfbox.pdmodel.PDDocument;
import org.apache.pdfbox.pdmodel.interactive.digitalsignature.PDSignature;
import org.apache.pdfbox.pdmodel.interactive.digitalsignature.SignatureOptions;
import org.bouncycastle.asn1.ASN1ObjectIdentifier;
import org.bouncycastle.asn1.DERSet;
import org.bouncycastle.asn1.cms.Attribute;
import org.bouncycastle.asn1.cms.AttributeTable;
import org.bouncycastle.asn1.cms.CMSAttributes;
import org.bouncycastle.asn1.ess.ESSCertIDv2;
import org.bouncycastle.asn1.ess.SigningCertificateV2;
import org.bouncycastle.asn1.pkcs.PKCSObjectIdentifiers;
import org.bouncycastle.asn1.x500.X500Name;
import org.bouncycastle.asn1.x509.Extension;
import org.bouncycastle.asn1.x509.KeyUsage;
import org.bouncycastle.cert.X509CertificateHolder;
import org.bouncycastle.cert.jcajce.JcaCertStore;
import org.bouncycastle.cert.jcajce.JcaX509CertificateConverter;
import org.bouncycastle.cert.jcajce.JcaX509v3CertificateBuilder;
import org.bouncycastle.cms.CMSAttributeTableGenerator;
import org.bouncycastle.cms.CMSProcessableByteArray;
import org.bouncycastle.cms.CMSSignedDataGenerator;
import org.bouncycastle.cms.CMSTypedData;
import org.bouncycastle.cms.DefaultSignedAttributeTableGenerator;
import org.bouncycastle.cms.jcajce.JcaSignerInfoGeneratorBuilder;
import org.bouncycastle.jce.provider.BouncyCastleProvider;
import org.bouncycastle.operator.ContentSigner;
import org.bouncycastle.operator.jcajce.JcaContentSignerBuilder;
import org.bouncycastle.operator.jcajce.JcaDigestCalculatorProviderBuilder;

/**
 * PDFBox and BouncyCastle as one would write them by hand: read a file, sign it (PAdES B-B) with a key in the device,
 * keep the result in memory; a warm loop, so many threads. Nobody is asked, nothing is recorded, nothing is verified.
 *
 * PdfBoxLoop CONFIGURATION PIN p-256|rsa-2048 THREADS WARM-SECONDS SECONDS SAMPLE FILE...
 *
 * One line for each file: signatures, seconds, p50 and p99 in ms, CPU seconds. The last result of each is written to
 * SAMPLE with the file's name behind it, so that others can look at it.
 */
public final class PdfBoxLoop {
    private static final int RESERVED = 16384;

    private final ContentSigner[] signers;
    private final X509Certificate certificate;

    private PdfBoxLoop(String configuration, char[] pin, String kind, int threads) throws Exception {
        Security.addProvider(new BouncyCastleProvider());
        Provider device = Security.getProvider("SunPKCS11").configure(configuration);
        Security.addProvider(device);
        KeyStore.getInstance("PKCS11", device).load(null, pin);
        boolean isRsa = kind.startsWith("rsa");
        KeyPairGenerator generator = KeyPairGenerator.getInstance(isRsa ? "RSA" : "EC", device);
        generator.initialize(isRsa ? 2048 : 256);
        KeyPair pair = generator.generateKeyPair();
        String algorithm = isRsa ? "SHA256withRSA" : "SHA256withECDSA";
        JcaContentSignerBuilder builder = new JcaContentSignerBuilder(algorithm).setProvider(device);
        signers = new ContentSigner[threads];
        for (int i = 0; i < threads; i++) {
            signers[i] = builder.build(pair.getPrivate());
        }
        certificate = selfSigned(pair, signers[0]);
    }

    private static X509Certificate selfSigned(KeyPair pair, ContentSigner signer) throws Exception {
        X500Name name = new X500Name("CN=PDFBox loop");
        long now = System.currentTimeMillis();
        JcaX509v3CertificateBuilder builder = new JcaX509v3CertificateBuilder(
            name, BigInteger.valueOf(now), new Date(now - 3_600_000), new Date(now + 86_400_000L * 300), name, pair.getPublic());
        builder.addExtension(Extension.keyUsage, true, new KeyUsage(KeyUsage.digitalSignature | KeyUsage.nonRepudiation));
        return new JcaX509CertificateConverter().getCertificate(builder.build(signer));
    }

    private byte[] sign(File file, int thread) throws Exception {
        ByteArrayOutputStream out = new ByteArrayOutputStream((int) file.length() + 65536);
        try (PDDocument document = PDDocument.load(file); SignatureOptions options = new SignatureOptions()) {
            PDSignature signature = new PDSignature();
            signature.setFilter(PDSignature.FILTER_ADOBE_PPKLITE);
            signature.setSubFilter(new org.apache.pdfbox.cos.COSName[] {
                org.apache.pdfbox.cos.COSName.getPDFName("ETSI.CAdES.detached")}[0]);
            signature.setSignDate(Calendar.getInstance());
            options.setPreferredSignatureSize(RESERVED);
            document.addSignature(signature, content -> {
                try {
                    return cms(content, thread);
                } catch (Exception error) {
                    throw new IOException(error);
                }
            }, options);
            document.saveIncremental(out);
        }
        return out.toByteArray();
    }

    private byte[] cms(InputStream content, int thread) throws Exception {
        CMSSignedDataGenerator generator = new CMSSignedDataGenerator();
        CMSAttributeTableGenerator attributes = parameters -> {
            AttributeTable made = new DefaultSignedAttributeTableGenerator().getAttributes(parameters);
            Hashtable<?, ?> kept = made.remove(CMSAttributes.signingTime).toHashtable();
            return new AttributeTable(kept).add(PKCSObjectIdentifiers.id_aa_signingCertificateV2, signingCertificate());
        };
        generator.addSignerInfoGenerator(
            new JcaSignerInfoGeneratorBuilder(new JcaDigestCalculatorProviderBuilder().build())
                .setSignedAttributeGenerator(attributes).build(signers[thread], certificate));
        generator.addCertificates(new JcaCertStore(List.of(certificate)));
        return generator.generate(new Streamed(content), false).getEncoded();
    }

    private SigningCertificateV2 signingCertificate() {
        try {
            byte[] digest = MessageDigest.getInstance("SHA-256").digest(certificate.getEncoded());
            return new SigningCertificateV2(new ESSCertIDv2(digest));
        } catch (Exception error) {
            throw new IllegalStateException(error);
        }
    }

    /** The bytes between the brackets, read once and never held. */
    private record Streamed(InputStream content) implements CMSTypedData {
        @Override public ASN1ObjectIdentifier getContentType() {
            return PKCSObjectIdentifiers.data;
        }

        @Override public void write(OutputStream out) throws IOException {
            IOUtils.copy(content, out);
        }

        @Override public Object getContent() {
            return content;
        }
    }

    private List<Double> run(File file, int thread, double seconds) throws Exception {
        List<Double> taken = new ArrayList<>();
        long end = System.nanoTime() + (long) (seconds * 1e9);
        while (System.nanoTime() < end) {
            long begun = System.nanoTime();
            sign(file, thread);
            taken.add((System.nanoTime() - begun) / 1e6);
        }
        return taken;
    }

    private double[] together(File file, double seconds) throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(signers.length);
        List<Callable<List<Double>>> each = new ArrayList<>();
        for (int i = 0; i < signers.length; i++) {
            int thread = i;
            each.add(() -> run(file, thread, seconds));
        }
        List<Double> taken = new ArrayList<>();
        for (Future<List<Double>> done : pool.invokeAll(each)) {
            taken.addAll(done.get());
        }
        pool.shutdown();
        return taken.stream().mapToDouble(Double::doubleValue).sorted().toArray();
    }

    public static void main(String[] args) throws Exception {
        PdfBoxLoop loop = new PdfBoxLoop(args[0], args[1].toCharArray(), args[2], Integer.parseInt(args[3]));
        OperatingSystemMXBean system = (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
        for (String name : Arrays.asList(args).subList(7, args.length)) {
            File file = new File(name);
            loop.together(file, Double.parseDouble(args[4]));
            long spent = system.getProcessCpuTime(), begun = System.nanoTime();
            double[] taken = loop.together(file, Double.parseDouble(args[5]));
            double seconds = (System.nanoTime() - begun) / 1e9, cpu = (system.getProcessCpuTime() - spent) / 1e9;
            System.out.printf(Locale.ROOT, "%d %f %f %f %f%n", taken.length, seconds, taken[taken.length / 2],
                taken[(int) (taken.length * 0.99)], cpu);
            Files.write(Path.of(args[6] + "-" + file.getName()), loop.sign(file, 0));
        }
    }
}
